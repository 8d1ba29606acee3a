"""The bandit attacked: its transcript in times and in numbers, beside algorithms that do not keep their claim."""

import math

import numpy as np
import pytest

from sfumato.attacks.averaging import averaging_attack
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.attacks.transcripts import transcript_attack
from sfumato.federation.bandits import Design, FedLinUCB, NoPrivacy, SiloLDP, TreePrefixSum
from sfumato.federation.bandits.contributions import pack
from sfumato.federation.bandits.determinant import DeterminantFedLinUCB
from sfumato.privacy.bounds import GaussianDP
from sfumato.privacy.claim import Claim

SCHEME = SiloLDP(6.0, 1e-5)
P, Q = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])
A, B = pack(np.outer(P, P), P), pack(np.outer(Q, Q), -Q)
TIGHT = Claim(GaussianDP(math.sqrt(2 * SCHEME.calibrate(Design(2, 1, 8, 1)).claim.bound.rho)), unit="record",
              neighbours="replace-one")  # fmt: skip


def transcripts(design, noisier=1.0):
    """All nodes of a silo over a run of 8 batches of one user, n silos at once, along the direction of the pair.

    The last user is silent; the first lies in 4 nodes. The noise's scale is multiplied by `noisier`.
    """

    def mechanism(first, n, rng):
        fitted = SCHEME.calibrate(Design(2, n, 8, 1, design))
        tree, nodes = TreePrefixSum(fitted), []
        perturb = fitted.perturb

        def kept(noise, node, level):
            drawn = perturb(noise, node, level)
            nodes.append(node + noisier * (drawn - node))
            return drawn

        object.__setattr__(fitted, "perturb", kept)
        for batch in [first, *[np.zeros(5)] * 7]:
            tree.push(np.repeat(batch[np.newaxis], n, axis=0))
        return np.stack(nodes, axis=1) @ (A - B)

    return mechanism


def audit(mechanism, alpha=0.05):
    auditor = Auditor(n_train=2000, n_select=3000, n_test=10_000, scores=("linear",), random_state=1, alpha=alpha,
                      progress=False)  # fmt: skip
    return auditor.audit(mechanism, TIGHT, pairs=[(A, B)]).verdict


@pytest.mark.slow
def test_the_whole_transcript_of_a_silo_keeps_its_claim():
    """Accused with probability 1e-6. The claim is the Gaussian one that has no slack left over its noise."""
    assert audit(transcripts("replace-one"), alpha=1e-6) == "no violation found"


@pytest.mark.slow
def test_a_fifth_less_noise_is_noticed():
    assert audit(transcripts("replace-one", noisier=0.8)) == "violation"


@pytest.mark.slow
def test_noise_for_users_removed_is_too_little_for_users_replaced():
    assert audit(transcripts("add-remove")) == "violation"


@pytest.mark.slow
def test_noise_that_is_drawn_anew_for_each_prefix_is_averaged_away():
    """The node of the first two batches is in the prefixes 2 and 3, and in 6 and 7 it is a part of a larger one."""
    fitted = SCHEME.calibrate(Design(2, 1, 8, 1))

    def redrawn(first):
        def ask():
            tree = TreePrefixSum(fitted)
            tree.push(first[np.newaxis])
            return float(tree.push(np.zeros((1, 5))) @ (A - B))

        return ask

    def once(first):
        tree = TreePrefixSum(fitted)
        tree.push(first[np.newaxis])
        node = float(tree.push(np.zeros((1, 5))) @ (A - B))
        return lambda: node

    # A hundred answers tell the two apart in all but one game of several hundred; the noise is not seeded.
    options = {"games": 50, "random_state": 0}
    assert averaging_attack(redrawn, (A, B), TIGHT, repeats=100, **options).verdict == "falsified"
    assert averaging_attack(once, (A, B), TIGHT, repeats=2, alpha=1e-6, **options).verdict == "consistent"


def run_times(make):
    """Steps at which a federation of two silos synchronises, all of one action; the other silo's users have none."""

    def transcript(first):
        learner, times = make(), []
        for step in range(40):
            features = np.stack([first if step == 0 else P, np.zeros(2)])
            learner.observe_all(features, np.zeros(2))
            if learner.sync_due(0):
                times.append(step)
                learner.sync()
        return tuple(times)

    return transcript


def test_the_determinant_schedule_shows_a_user_and_the_fixed_one_does_not():
    """Ten users in a row are just enough to speak, nine are not: who is absent among them shows."""
    options = {"silos": 2, "horizon": 40, "mechanism": SCHEME}
    regulariser = DeterminantFedLinUCB(2, **options).confidence.regulariser
    threshold = 10 * math.log1p(9.5 / regulariser)
    older = run_times(lambda: DeterminantFedLinUCB(2, **options, threshold=threshold))
    ours = run_times(lambda: FedLinUCB(2, **options, batch=5))
    pair = (P, np.zeros(2))
    seen = transcript_attack(older, pair, TIGHT, games=60, random_state=0)
    assert seen.verdict == "falsified"
    assert seen.value >= 0.9
    assert transcript_attack(ours, pair, TIGHT, games=60, alpha=1e-6, random_state=0).verdict == "consistent"
    assert {ours(each) for each in pair} == {tuple(range(4, 40, 5))}


def test_the_determinant_schedule_carries_no_claim():
    learner = DeterminantFedLinUCB(2, silos=2, horizon=4, mechanism=SCHEME)
    assert not learner.claim_.formal
    assert "times of messages" in learner.claim_.void


def test_local_steering_lets_one_user_move_a_whole_batch():
    """A first user chooses the side that all later users of the batch get: the node moves by many contributions."""

    def node(reward, steering):
        learner = FedLinUCB(2, silos=1, horizon=50, batch=50, mechanism=NoPrivacy(), steering=steering,
                            exploration=1e-6)  # fmt: skip
        sides = np.eye(2)
        for step in range(50):
            action = learner.act(0, sides)
            learner.observe(0, sides[action], reward if step == 0 else 1.0)
        return pack(learner._gram[0], learner._bias[0])

    moved = {s: float(np.linalg.norm(node(1.0, s) - node(-1.0, s))) for s in ("synced", "local")}
    assert moved["synced"] <= Design(2, 1, 50, 50).sensitivity
    assert moved["local"] > 10 * Design(2, 1, 50, 50).sensitivity
