"""The private scalars: their claim is dp-accounting's, and their proof's inequality holds in numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.rdp import RdpAccountant
from one_byte import SEED, examples, losses, small_model

from sfumato import Ledger, Release
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.federation import InProcess
from sfumato.federation.shared_randomness import (
    DPZO,
    Settings,
    SharedRandomnessProtocol,
    SharedRandomnessTuner,
    noise_multiplier_for,
)
from sfumato.privacy.bounds import ApproxDP, RenyiDP

PRIVACY = DPZO(clip=1.0, noise_multiplier=1.5, sampling_rate=0.25, batch_size=6)
SETTINGS = Settings(SEED, lr=0.02, samples_per_step=5)


def accountant_epsilon(privacy, scalars, delta):
    accountant = RdpAccountant(range(2, 513), NeighboringRelation.ADD_OR_REMOVE_ONE)
    sampled = dp_event.PoissonSampledDpEvent(privacy.sampling_rate, dp_event.GaussianDpEvent(privacy.noise_multiplier))
    accountant.compose(dp_event.SelfComposedDpEvent(sampled, scalars))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize("scalars", [1, 20, 3000])
def test_the_claim_is_dp_accountings_sampled_gaussian(scalars):
    claim = PRIVACY.claim(scalars)
    assert isinstance(claim.bound, RenyiDP)
    assert claim.to(ApproxDP, delta=1e-5).bound.epsilon == pytest.approx(
        accountant_epsilon(PRIVACY, scalars, 1e-5), rel=0.02
    )


def test_the_ledger_is_charged_for_each_step_and_composes_to_the_same(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("silo", ApproxDP(30.0, 1e-5), unit="record")
    made = SharedRandomnessProtocol(small_model(), losses, settings=SETTINGS, steps=4, privacy=PRIVACY)
    outcome = InProcess(ledgers=[(ledger, "silo")]).run(made, [examples(0)])
    account = ledger.account("silo")
    assert account.charges == 4
    assert account.spent.epsilon_at(1e-5) == pytest.approx(made.claim.epsilon_at(1e-5), rel=1e-6)
    assert account.spent.epsilon_at(1e-5) == pytest.approx(accountant_epsilon(PRIVACY, 20, 1e-5), rel=0.02)
    assert outcome.result.log.scalar_bytes == 20


def test_an_exhausted_budget_refuses_before_any_loss(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("silo", ApproxDP(0.01, 1e-5), unit="record")

    def untouched(model, batch):
        raise AssertionError

    one = SharedRandomnessTuner(small_model(), untouched, settings=SETTINGS, privacy=PRIVACY)
    with ledger.charging("silo"), pytest.raises(BudgetExceeded):
        one.local_step(examples(0))


def test_discrete_sampled_noise_diverges_no_more_than_the_accountants_gaussian():
    """The proof's inequality, both directions, by summation: shifts of K granules and fewer."""
    granules, sigma, q = 16, 20.0, 0.3
    x = np.arange(-400, 401)  # 20 deviations, where doubles have not run out
    bound = privacy_of(sigma / granules, q).bound(1)
    curve = dict(zip(bound.orders, bound.epsilons, strict=True))

    def law(shift):
        p = np.exp(-((x - shift) ** 2) / (2 * sigma**2))
        return p / p.sum()

    for shift in (1, 7, granules, -granules):
        p, mixed = law(0), (1 - q) * law(0) + q * law(shift)
        for order in (2.0, 3.0, 8.0, 16.0):
            for a, b in ((mixed, p), (p, mixed)):
                divergence = math.log(np.sum(np.exp(order * np.log(a) + (1 - order) * np.log(b)))) / (order - 1)
                assert divergence <= curve[order] * (1 + 1e-9) + 1e-12
    p, mixed = law(0), (1 - q) * law(0) + q * law(granules + 4)
    assert math.log(np.sum(p * (mixed / p) ** 8)) / 7 > curve[8.0]  # beyond the sensitivity it does not hold


def privacy_of(multiplier, q):
    return DPZO(1.0, multiplier, q, 1.0)


def test_an_example_that_is_not_finite_contributes_nothing_and_is_never_a_skip():
    def broken(model, batch):
        return losses(model, batch) * torch_nan

    torch_nan = float("nan")
    settings = replace(SETTINGS, samples_per_step=200)
    one = SharedRandomnessTuner(small_model(), broken, settings=settings, privacy=replace(PRIVACY, sampling_rate=1.0))
    assert 0x80 not in one.local_step(examples(0))
    assert one.skipped_ == 0


def test_batches_are_drawn_in_secret_and_not_from_the_run_seed():
    """Two machines with one seed and the same examples: what they hand to the loss differs."""
    seen = []

    def watching(model, batch):
        seen.append(batch[0][:, 0].tolist())
        return losses(model, batch)

    for _ in range(2):
        SharedRandomnessTuner(small_model(), watching, settings=SETTINGS, privacy=PRIVACY).local_step(examples(0, 200))
    assert seen[:10] != seen[10:]
    assert 5 * 200 * 0.25 * 0.6 < sum(map(len, seen[:10:2])) < 5 * 200 * 0.25 * 1.4  # 6.5 deviations each way


def test_the_noise_multiplier_reaches_its_target():
    found = noise_multiplier_for(2.0, 1e-5, scalars=1000, sampling_rate=0.1)
    assert 1.99 < privacy_of(found, 0.1).claim(1000).epsilon_at(1e-5) <= 2.0


def test_bad_parameters_are_named():
    for change in ({"clip": 0.0}, {"noise_multiplier": math.inf}, {"sampling_rate": 1.5}, {"batch_size": True}):
        with pytest.raises(InvalidClaim, match=next(iter(change))):
            replace(PRIVACY, **change)
    with pytest.raises(InvalidClaim, match="epsilon"):
        noise_multiplier_for(0.0, 1e-5, scalars=1, sampling_rate=1.0)
    mean = SharedRandomnessTuner(
        small_model(), lambda m, b: losses(m, b).mean(), settings=SETTINGS, privacy=replace(PRIVACY, sampling_rate=1.0)
    )
    with pytest.raises(InvalidData, match="loss for each example"):
        mean.local_step(examples(0))
    with pytest.raises(InvalidData, match="batch_size is not for private runs"):
        SharedRandomnessProtocol(small_model(), losses, settings=SETTINGS, steps=1, privacy=PRIVACY, batch_size=3)


class ClipsAfterAdding(DPZO):
    """A broken twin: the mean of a batch is clipped and not its examples."""

    def noisy_mean(self, prepaid, scalars):
        mean = np.clip(np.nansum(scalars) / self.batch_size, -self.clip, self.clip)
        return self._noisy(prepaid, mean * self.batch_size)

    def _noisy(self, prepaid, total):
        cells = np.array([round(total / self.clip * 65536)])
        sigma2 = (self.noise_multiplier * 65536) ** 2
        return float(prepaid.discrete_gaussian(cells, l2_sensitivity=65536, sigma2=sigma2)[0]) / 65536 * self.clip


class DoesNotClip(ClipsAfterAdding):
    """Another: nothing is clipped."""

    def noisy_mean(self, prepaid, scalars):
        return self._noisy(prepaid, np.nansum(scalars))


class HalfTheNoise(DPZO):
    """Another: noise of half the deviation that the claim is about."""

    def noisy_mean(self, prepaid, scalars):
        halved = DPZO(self.clip, self.noise_multiplier / 2, self.sampling_rate, self.batch_size)
        return halved.noisy_mean(prepaid, scalars)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (DPZO, "no violation found"),
        (ClipsAfterAdding, "violation"),
        (DoesNotClip, "violation"),
        (HalfTheNoise, "violation"),
    ],
)
def test_broken_twins_are_caught_by_the_auditor(kind, verdict):
    """About 10,000 scalars; the sound one is accused with probability 1e-6."""
    privacy = kind(1.0, 0.5, 1.0, 6)

    def outputs(slopes, n, rng):
        with Release(privacy.claim(n), "audit") as release:
            prepaid = release.prepaid(privacy.bound(n))
            return np.array([[privacy.noisy_mean(prepaid, slopes)] for _ in range(n)])

    sizes = {"n_train": 300, "n_select": 700, "n_test": 4_000, "random_state": 3, "progress": False}
    auditor = Auditor(**sizes, alpha=1e-6, scores=("threshold", "linear"))
    nobody = np.array([np.nan, 0.5, -0.5])
    one = np.array([3.0, 0.5, -0.5])
    assert auditor.audit(outputs, privacy.claim(1), pairs=[(one, nobody)]).verdict == verdict
