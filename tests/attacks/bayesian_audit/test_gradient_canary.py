"""A canary in the gradients: it reads the noise of an Opacus step exactly, and catches one that adds half of it."""

import numpy as np
import pytest
from scipy import stats

from sfumato.attacks.bayesian_audit import GradientCanary
from sfumato.errors import InvalidData

torch = pytest.importorskip("torch")
optimizers = pytest.importorskip("opacus.optimizers")

STEPS, SIGMA, NORM = 3000, 1.0, 0.7


class HalfTheNoise(optimizers.DPOptimizer):
    """States one noise multiplier and adds half of it."""

    def add_noise(self):
        stated = self.noise_multiplier
        self.noise_multiplier = stated / 2
        super().add_noise()
        self.noise_multiplier = stated


def make(kind=optimizers.DPOptimizer, seed=0, **change):
    torch.manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(4))]
    settings = {"noise_multiplier": SIGMA, "max_grad_norm": NORM, "expected_batch_size": 5, **change}
    return kind(torch.optim.SGD(parameters, lr=0.1), generator=torch.Generator().manual_seed(seed), **settings)


def step(optimizer, rng):
    """One step on five records whose per-sample gradients are random and above the clipping norm."""
    for p in optimizer.params:
        p.grad_sample = torch.as_tensor(rng.normal(size=(5, *p.shape)), dtype=p.dtype)
    optimizer.step()
    optimizer.zero_grad()


def train(optimizer, steps=STEPS, **settings):
    rng = np.random.default_rng(1)
    with GradientCanary(optimizer, random_state=2, **settings) as canary:
        for _ in range(steps):
            step(optimizer, rng)
    return canary


@pytest.mark.parametrize("direction", ["dirac", "random"])
def test_the_statistic_is_the_coin_plus_the_noise_that_is_stated(direction):
    canary = train(make(), direction=direction)
    rest = (canary.statistics - canary.included) / SIGMA
    assert stats.kstest(rest, stats.norm.cdf).pvalue > 1e-6
    assert 0.4 < canary.included.mean() < 0.6
    assert canary.claim.bound.mu == pytest.approx(1 / SIGMA)


def test_a_sound_optimizer_is_consistent_and_half_the_noise_is_caught():
    """The sound one is accused with probability 1e-6."""
    sound = train(make()).report(delta=1e-5, alpha=1e-6).to_evidence()
    assert sound.verdict == "consistent"
    broken = train(make(HalfTheNoise)).report(delta=1e-5, alpha=1e-6).to_evidence()
    assert broken.verdict == "falsified"
    assert str(sound.claim.bound) == str(broken.claim.bound)


def test_false_alarms_of_the_step_audit():
    """1000 simulated audits of exact Gaussian steps at level 0.05: more than 86 with probability 1e-6 at most."""
    from sfumato import Claim
    from sfumato.attacks.bayesian_audit.canaries import judge_independent
    from sfumato.privacy.bounds import GaussianDP

    rng, alarms = np.random.default_rng(0), 0
    for _ in range(1000):
        coins = rng.random(200) < 0.5
        report = judge_independent(coins + rng.normal(scale=1.0, size=200), coins, Claim(GaussianDP(1.0)), 1e-5, 0.05)
        alarms += report.to_evidence().verdict == "falsified"
    assert alarms <= stats.binom.isf(1e-6, 1000, 0.05)


def test_the_optimizer_is_left_as_it_was_and_trains_the_same_without_a_canary():
    plain, watched = make(), make()
    rng = np.random.default_rng(3)
    for _ in range(3):
        step(plain, rng)
    rng = np.random.default_rng(3)
    with GradientCanary(watched, rate=0.0, random_state=0) as canary:
        for _ in range(3):
            step(watched, rng)
    assert "add_noise" not in vars(watched)
    for a, b in zip(plain.params, watched.params, strict=True):
        assert torch.equal(a, b)
    assert not canary.included.any()


def test_virtual_steps_are_one_step():
    optimizer = make()
    rng = np.random.default_rng(4)
    with GradientCanary(optimizer, rate=1.0, random_state=0) as canary:
        optimizer.signal_skip_step(do_skip=True)
        step(optimizer, rng)
        optimizer.signal_skip_step(do_skip=False)
        step(optimizer, rng)
    assert canary.statistics.shape == (1,)


def test_a_whole_training_is_a_canary_game():
    """One coin a training of ten full steps: μ = √10 / σ, and exactly that many standard deviations apart."""
    from sfumato import Claim
    from sfumato.attacks.bayesian_audit import CanaryGame
    from sfumato.privacy.bounds import GaussianDP

    def run(included, seed):
        rng = np.random.default_rng(seed)
        optimizer = make(seed=seed, noise_multiplier=5.0)
        with GradientCanary(optimizer, rate=1.0 if included[0] else 0.0, random_state=0) as canary:
            for _ in range(10):
                step(optimizer, rng)
        return canary

    game = CanaryGame(train=run, score=lambda canary: [canary.statistics.sum()], n_models=400)
    claimed = Claim(GaussianDP(10**0.5 / 5))
    assert game.run(claimed, delta=1e-5, alpha=1e-6, random_state=1).to_evidence().verdict == "consistent"
    assert game.run(Claim(GaussianDP(0.05)), delta=1e-5, random_state=1).to_evidence().verdict == "falsified"


def test_bad_input_is_named():
    for change, match in (
        ({"direction": "up"}, "direction"),
        ({"rate": 1.5}, "rate"),
        ({"rate": float("nan")}, "rate"),
    ):
        with pytest.raises(InvalidData, match=match):
            GradientCanary(make(), **change)
    with pytest.raises(InvalidData, match="DPOptimizer"):
        GradientCanary(make().original_optimizer)
    with pytest.raises(InvalidData, match="noise"):
        GradientCanary(make(noise_multiplier=0.0))
    with pytest.raises(InvalidData, match="one norm"):
        GradientCanary(make(max_grad_norm=[1.0, 1.0]))
    with pytest.raises(InvalidData, match="4 steps"):
        GradientCanary(make()).report(delta=1e-5)
