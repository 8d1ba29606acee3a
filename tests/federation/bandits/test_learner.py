"""FedLinUCB: what it computes, what it refuses, and that nothing but counts decides when it speaks."""

import math

import numpy as np
import pytest

from sfumato import BudgetExceeded, Ledger
from sfumato.errors import HorizonExceeded, InvalidData, NotSynchronised
from sfumato.federation.bandits import CentralJDP, FedLinUCB, NoPrivacy, SecureSumDP, SiloLDP, TreePrefixSum
from sfumato.federation.bandits.confidence import Confidence, fit_model
from sfumato.federation.bandits.design import Design
from sfumato.federation.bandits.simulation import LinearArms, LinearContexts, simulate
from sfumato.privacy.bounds import ZCDP


def play(learner, environment, steps, seed=0):
    """Actions of all silos over `steps` users each."""
    rng = np.random.default_rng(seed)
    silos, actions = learner.design.silos, []
    for _ in range(steps):
        features, means = environment.users(silos, rng)
        taken = learner.act_all(features)
        each = np.arange(silos)
        learner.observe_all(features[each, taken], environment.rewards(means[each, taken], rng))
        actions.append(taken)
        if learner.sync_due(0):
            learner.sync()
    return np.array(actions)


def test_without_privacy_one_silo_is_linucb_step_by_step():
    """Against LinUCB written down from its definition, with a linear solve in every step."""
    environment, rng = LinearContexts.random(5, 8, 0), np.random.default_rng(1)
    learner = FedLinUCB(5, silos=1, horizon=300, batch=7, mechanism=NoPrivacy(), steering="local", reward_noise=0.25)
    gram, bias = np.eye(5), np.zeros(5)
    for step in range(300):
        features, means = environment.users(1, rng)
        beta = 0.25 * math.sqrt(2 * math.log(2 / 0.01) + 5 * math.log(3 + step / 5)) + 1.0
        theta = np.linalg.solve(gram, bias)
        width = [math.sqrt(x @ np.linalg.solve(gram, x)) for x in features[0]]
        np.testing.assert_allclose(learner._inverse[0] @ (learner._model.bias + learner._bias[0]), theta, atol=1e-9)
        np.testing.assert_allclose(learner._inverse[0], np.linalg.inv(gram), atol=1e-9)
        assert math.isclose(learner.confidence.beta(step), beta, rel_tol=1e-12)
        action = learner.act(0, features[0])
        scores = features[0] @ theta + beta * np.array(width)
        assert scores[action] > scores.max() - 1e-9
        phi, reward = features[0, action], float(environment.rewards(means[0, action], rng))
        learner.observe(0, phi, reward)
        gram, bias = gram + np.outer(phi, phi), bias + reward * phi
        if learner.sync_due(0):
            learner.sync()
    assert learner.synchronised_ == 42


@pytest.mark.parametrize("steering", ["synced", "local"])
def test_one_silo_at_a_time_is_all_silos_at_once(steering):
    environment = LinearContexts.random(4, 6, 0)
    options = {"silos": 3, "horizon": 40, "batch": 10, "mechanism": SiloLDP(5.0, 1e-5), "steering": steering}
    together = FedLinUCB(4, **options, noise_seed=1)
    apart = FedLinUCB(4, **options, noise_seed=1)
    actions = play(together, environment, 40)
    rng = np.random.default_rng(0)
    for step in range(40):
        features, means = environment.users(3, rng)
        assert [apart.act(silo, features[silo]) for silo in range(3)] == actions[step].tolist()
        rewards = environment.rewards(means[np.arange(3), actions[step]], rng)
        for silo in (2, 0, 1):
            apart.observe(silo, features[silo, actions[step, silo]], rewards[silo])
        if apart.sync_due(0):
            apart.sync()
    np.testing.assert_allclose(apart.theta_, together.theta_, atol=1e-9)


def test_synced_steering_never_looks_at_the_batch():
    """Another first user of a batch moves no other action of the batch: with local steering it does."""
    changed = {}
    for steering in ("synced", "local"):
        actions = []
        for reward in (-1.0, 1.0):
            learner = FedLinUCB(3, silos=1, horizon=20, batch=20, mechanism=NoPrivacy(), steering=steering)
            rng = np.random.default_rng(0)
            for step in range(20):
                action = learner.act(0, np.eye(3) * 0.99)
                actions.append(action)
                learner.observe(0, np.eye(3)[action], reward if step == 0 else rng.choice([-0.1, 0.1]))
        changed[steering] = actions[:20] != actions[20:]
    assert changed == {"synced": False, "local": True}


def test_local_steering_carries_no_claim():
    options = {"silos": 2, "horizon": 10, "batch": 5, "mechanism": SiloLDP(1.0, 1e-5)}
    assert FedLinUCB(2, **options).claim_.formal
    assert not FedLinUCB(2, **options, steering="local").claim_.formal
    assert not FedLinUCB(2, **options, noise_seed=3).claim_.formal
    assert not FedLinUCB(2, **options | {"mechanism": NoPrivacy()}).claim_.formal


def test_a_silo_that_is_out_of_step_is_told_so():
    learner = FedLinUCB(2, silos=2, horizon=5, batch=2, mechanism=NoPrivacy())
    phi = np.array([1.0, 0.0])
    learner.observe(0, phi, 1.0)
    with pytest.raises(NotSynchronised, match=r"\[0, 1\]"):
        learner.sync()
    learner.observe(0, phi, 1.0)
    assert learner.sync_due(0)
    assert not learner.sync_due(1)
    with pytest.raises(NotSynchronised, match="silo 0"):
        learner.observe(0, phi, 1.0)
    learner.observe(1, phi, 1.0)
    learner.observe(1, phi, 1.0)
    learner.sync()
    for silo in (0, 0, 1, 1):
        learner.observe(silo, phi, 1.0)
    learner.sync()
    learner.observe(0, phi, 1.0)  # the tail: never sent
    assert not learner.sync_due(0)
    with pytest.raises(HorizonExceeded, match="5 users"):
        learner.observe(0, phi, 1.0)
    with pytest.raises(NotSynchronised):
        learner.sync()


def test_users_beyond_the_bounds_do_not_stop_a_run_and_count_as_steps():
    learner = FedLinUCB(2, silos=1, horizon=4, batch=4, mechanism=NoPrivacy(), reward_bound=2.0)
    assert learner.act(0, [[np.nan, 0.0], [0.6, 0.8], [30.0, 40.0]]) in (1, 2)
    assert learner.act(0, [[np.nan, 0.0], [np.inf, 0.8]]) == 0
    learner.observe(0, [30.0, 40.0], 1.0)
    learner.observe(0, [np.nan, 0.0], 1.0)
    learner.observe(0, [0.6, 0.8], -9.0)
    learner.observe(0, [0.6, 0.8], 2.0)
    assert (learner.clipped_, learner.rejected_) == (2, 1)
    learner.sync()
    phi = np.array([0.6, 0.8])
    expected = np.linalg.solve(np.eye(2) + 3 * np.outer(phi, phi), phi * (0.5 - 1.0 + 1.0)) * 2.0
    np.testing.assert_allclose(learner.theta_, expected, atol=1e-9)


def test_features_of_another_shape_are_refused():
    learner = FedLinUCB(2, silos=3, horizon=4, batch=4, mechanism=NoPrivacy())
    for call in (
        lambda: learner.act(0, [1.0, 0.0]),
        lambda: learner.act(0, [[1.0, 0.0, 0.0]]),
        lambda: learner.act_all(np.zeros((2, 5, 2))),
        lambda: learner.observe(0, [[1.0, 0.0]], 1.0),
        lambda: learner.observe_all(np.zeros((2, 2)), np.zeros(2)),
        lambda: learner.observe_all(np.zeros((3, 2)), np.zeros(2)),
    ):
        with pytest.raises(InvalidData):
            call()
    for bad in ({"steering": "both"}, {"reward_bound": 0.0}, {"delta_conf": 1.0}, {"exploration": -1.0}, {"batch": 9}):
        with pytest.raises(InvalidData):
            FedLinUCB(2, **{"silos": 3, "horizon": 4, "batch": 4, "mechanism": NoPrivacy()} | bad)


def test_the_whole_run_is_charged_before_the_first_user(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    options = {"silos": 2, "horizon": 10, "batch": 5, "mechanism": SiloLDP(1.0, 1e-5)}
    rho = FedLinUCB(2, **options).claim_.bound.rho
    ledger.create("users", ZCDP(rho * 1.5), unit="record", neighbours="replace-one")
    with ledger.charging("users"):
        learner = FedLinUCB(2, **options)
        play(learner, LinearContexts.random(2, 3, 0), 10)
        with pytest.raises(BudgetExceeded):
            FedLinUCB(2, **options)
    assert ledger.account("users").charges == 1


@pytest.mark.parametrize("mechanism", [SiloLDP(1.0, 1e-5), SecureSumDP(1.0, 1e-5), CentralJDP(1.0, 1e-5)], ids=repr)
def test_the_radius_covers_the_noise(mechanism):
    """P(‖noise‖ > γ) is at most alpha = 0.05 a run, over all prefixes.

    With 60 runs at a rate of 0.05, more than 14 are 1e-6 unlikely; at most that many may exceed γ or ν, or be floored.
    """
    design = Design(4, 3, 64, 4)
    fitted = mechanism.calibrate(design)
    confidence = Confidence(design, fitted.sigma_total, alpha=0.05)
    gram_beyond = bias_beyond = floored = 0
    for seed in range(60):
        tree = TreePrefixSum(fitted, noise_seed=seed)
        prefixes = [tree.push(np.zeros((3, design.length))) for _ in range(design.batches)]
        models = [fit_model(prefix, confidence) for prefix in prefixes]
        norms = [np.abs(np.linalg.eigvalsh(np.linalg.inv(m.inverse)) - confidence.regulariser).max() for m in models]
        gram_beyond += max(norms) > confidence.gamma
        bias_beyond += max(np.linalg.norm(m.bias) for m in models) > confidence.nu
        floored += any(m.floored for m in models)
        for model in models:
            assert np.linalg.eigvalsh(model.inverse)[-1] <= 1 / confidence.floor * (1 + 1e-9)
    assert gram_beyond <= 14
    assert bias_beyond <= 14
    assert floored <= 14


def test_an_eigenvalue_below_the_floor_is_raised_to_it_and_counted():
    confidence = Confidence(Design(2, 1, 4, 1), sigma_total=1.0)
    broken = fit_model(np.array([-1000.0, 0.0, 5.0, 1.0, 1.0]), confidence)
    assert broken.floored
    assert math.isclose(np.linalg.eigvalsh(broken.inverse)[-1], 1 / confidence.floor)
    assert not fit_model(np.zeros(5), confidence).floored


def test_regret_is_of_mean_rewards_and_falls_with_less_noise():
    def regret(mechanism, **more):
        options = {"silos": 4, "horizon": 400, "mechanism": mechanism, "exploration": 0.1, **more}
        return simulate(
            lambda seed: LinearContexts.random(4, 6, seed),
            lambda seed: FedLinUCB(4, noise_seed=seed, reward_noise=0.25, **options),
            silos=4,
            horizon=400,
            seeds=range(2),
        )

    without, central, silo = (regret(m) for m in (NoPrivacy(), CentralJDP(1.0, 1e-5), SiloLDP(1.0, 1e-5)))
    assert without.curves.shape == (2, 400)
    assert without.by_silo.shape == (2, 4)
    assert np.all(np.diff(without.curves, axis=1) >= -1e-12)
    assert without.per_silo < central.per_silo < silo.per_silo
    assert math.isclose(without.curves[:, -1].mean(), without.per_silo)


def test_the_environments_stay_within_the_bounds():
    arms = LinearArms.random(10, 100, 0)
    assert arms.arms.shape == (100, 10)
    np.testing.assert_allclose(np.linalg.norm(arms.arms, axis=1), 1)
    users, means = LinearContexts.random(10, 5, 0).users(7, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(users, axis=2), 1)
    assert means.min() >= -1e-12
    assert means.max() <= math.sqrt(0.5) + 1e-12
    with pytest.raises(InvalidData, match="norm"):
        LinearArms(2 * np.eye(2), np.zeros(2))
    with pytest.raises(InvalidData, match="rewards"):
        LinearArms(np.eye(2), np.ones(2))
