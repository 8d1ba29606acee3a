"""Contracts of `sfumato.federation.bandits`: everything that leaves a silo, for one user exchanged.

The worst pair is that of the proof of the sensitivity, for the first user, who lies in all nodes of the left edge of
the tree. Independent releases are the silos of one run, where each adds its own noise.
"""

import math

import numpy as np
from contract import Contract
from coupling import captured

from sfumato.federation.bandits import (
    BanditComputation,
    Design,
    FedLinUCB,
    RecordedUsers,
    SiloLDP,
    TreePrefixSum,
)
from sfumato.federation.bandits.contributions import pack
from sfumato.federation.message import Message

SCHEME = SiloLDP(2.0, 1e-5)
STEPS, BATCH, ARMS = 4, 2, 3
P, Q = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])


def users_of(first, others=(np.zeros(2), 0.0)):
    """One user after the other, with one action each: (features, reward)."""
    rows = [first, *[others] * (STEPS - 1)]
    return RecordedUsers(np.array([[phi] * ARMS for phi, _ in rows]), np.array([[y] * ARMS for _, y in rows]))


def random_users(rng):
    features = rng.normal(size=(STEPS, ARMS, 2))
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return RecordedUsers(features, rng.choice([-1.0, 1.0], (STEPS, ARMS)))


def one_replaced(rng):
    users, place = random_users(rng), int(rng.integers(STEPS))
    other = random_users(rng)
    features, rewards = users.features.copy(), users.rewards.copy()
    features[place], rewards[place] = other.features[place], other.rewards[place]
    return users, RecordedUsers(features, rewards)


WORST = [(users_of((P, 1.0)), users_of((Q, -1.0)))]
TOO_FAR = [(users_of((P, 1.0), (P, 1.0)), users_of((Q, -1.0), (Q, -1.0)))]


def learner_run(users, silos=1):
    learner = FedLinUCB(2, silos=silos, horizon=STEPS, batch=BATCH, mechanism=SCHEME)
    for features, rewards in zip(users.features, users.rewards, strict=True):
        actions = learner.act_all(features)
        learner.observe_all(features[actions], rewards[actions])
        if learner.sync_due(0):
            learner.sync()
    return learner


def tree_run(users, silos=1):
    """The tree alone, over batches that nobody chose actions for."""
    tree = TreePrefixSum(SCHEME.calibrate(Design(2, silos, STEPS, BATCH)))
    phi, y = users.features[:, 0], users.rewards[:, 0]
    each = pack(phi[:, :, np.newaxis] * phi[:, np.newaxis, :], phi * y[:, np.newaxis])
    for batch in each.reshape(-1, BATCH, 5).sum(axis=1):
        tree.push(np.repeat(batch[np.newaxis], silos, axis=0))


def computation_run(users):
    computation = BanditComputation(2, silos=1, horizon=STEPS, batch=BATCH, mechanism=SCHEME)
    state, memory = Message(computation.start()), Message({})
    while not computation.finished(state):
        vector, kept = computation.contribute(Message(computation.request(state)), memory, users)
        state, memory = Message(computation.absorb(state, vector, (0,))), Message(kept)


def projections(nodes, worst=WORST[0]):
    """Nodes of shape (n, batches, 5) along the direction in which the worst pair differs: all that tells it apart."""
    moved = [pack(np.outer(phi, phi), phi * y) for phi, y in ((P, 1.0), (Q, -1.0))]
    return nodes @ (moved[0] - moved[1])


def outputs(run):
    def drawn_by(users, n, rng):
        drawn = []
        with captured(drawn):
            run(users, n)
        return projections(np.stack([draw.reshape(n, 5) for draw in drawn], axis=1).astype(np.float64))

    return drawn_by


def one_after_the_other(users, n, rng):
    drawn = []
    with captured(drawn):
        for _ in range(n):
            computation_run(users)
    return projections(np.array(drawn, np.float64).reshape(n, -1, 5))


def entry(subject, name, claim, run, outputs, **more):
    return Contract(subject, name, claim, run, one_replaced, outputs, WORST, TOO_FAR, **more)


_DESIGN = Design(2, 1, STEPS, BATCH)
_CLAIM = SCHEME.calibrate(_DESIGN).claim

CONTRACTS = [
    entry(TreePrefixSum, "silo", _CLAIM, tree_run, outputs(tree_run), trials=5000),
    entry(FedLinUCB, "silo", learner_run(WORST[0][0]).claim_, learner_run, outputs(learner_run), trials=5000),
    entry(BanditComputation, "silo", _CLAIM, computation_run, one_after_the_other, trials=300, bug=8),
]

WITHOUT_A_FORMAL_CLAIM = {
    "Learned": "what a run of BanditComputation ends with: it carries that claim",
}
