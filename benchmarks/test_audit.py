"""Speed of the interval for ε beside the two-dimensional quadrature of the published method.

For whoever doubts "milliseconds, not minutes". Zanella-Béguelin et al. (ICML 2023): their code finds the
same quantiles with `scipy.integrate.dblquad`; one evaluation of the distribution function is compared.
"""

import time

import numpy as np
import pytest
from scipy import integrate, stats

from sfumato.attacks.bayesian_audit import (
    AttackCounts,
    Auditor,
    EpsilonPosterior,
    epsilon_interval,
    epsilon_intervals,
)
from sfumato.attacks.bayesian_audit.regions import false_positive_range
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim

README = AttackCounts(487, 0, 512, 1)  # the published code's own example, "about 5 minutes"
GOLDEN = [
    (487, 0, 512, 1),
    (100, 0, 0, 100),
    (80, 20, 10, 90),
    (100, 400, 100, 400),
    (997, 3, 500, 500),
    (500_000, 0, 500, 499_500),
    (500_000, 500_000, 497_000, 503_000),
]


@pytest.mark.parametrize("counts", GOLDEN)
def test_one_interval(benchmark, counts):
    benchmark(epsilon_interval, AttackCounts(*counts), 1e-5)


def test_thousand_tables(benchmark):
    rng = np.random.default_rng(0)
    tables = rng.integers(1, 1000, (1000, 4))
    found = benchmark.pedantic(epsilon_intervals, (tables, 1e-5), rounds=1)
    assert found.shape == (1000, 2)


@pytest.mark.benchmark(group="distribution function")
def test_distribution_function(benchmark):
    def ours():
        return EpsilonPosterior(README, 1e-5).cdf(2.0)

    assert benchmark(ours) == pytest.approx(by_double_quadrature(2.0), abs=1e-4)


@pytest.mark.benchmark(group="distribution function")
def test_distribution_function_by_double_quadrature(benchmark):
    benchmark.pedantic(by_double_quadrature, (2.0,), rounds=1)


def test_audit_of_a_fast_mechanism(benchmark):
    def laplace(x, n, rng):
        return np.round((x + rng.laplace(size=n)) * 2**20) / 2**20

    auditor = Auditor(random_state=0, progress=False)
    report = benchmark.pedantic(auditor.audit, (laplace, Claim(PureDP(1.0))), {"pairs": [(0, 1)]}, rounds=3)
    assert report.eps_lower > 0.93


def by_double_quadrature(epsilon):
    x, y = stats.beta(0.5, 487.5), stats.beta(512.5, 1.5)
    value, _ = integrate.dblquad(
        lambda b, a: x.pdf(a) * y.pdf(b),
        0,
        1,
        lambda a: float(false_positive_range(a, epsilon, 1e-5)[0]),
        lambda a: float(false_positive_range(a, epsilon, 1e-5)[1]),
        epsabs=1e-3,
    )
    return value


def test_intervals_beside_privacy_estimates(capsys):
    """The published package, where it is installed, table by table.

    `pip install --no-deps privacy-estimates==0.1.0.post1`, and `pip install multimethod pydantic-cli statsmodels`.
    """
    peer = pytest.importorskip("privacy_estimates", reason="privacy-estimates is not installed")
    ratios = []
    for counts in GOLDEN:
        tp, fn, fp, tn = counts
        fast = _best_of(lambda counts=counts: epsilon_interval(AttackCounts(*counts), 1e-5, 0.1))
        found = epsilon_interval(AttackCounts(*counts), 1e-5, 0.1)
        start = time.perf_counter()
        try:
            results = peer.AttackResults(TP=tp, FN=fn, FP=fp, TN=tn)
            ends = peer.compute_eps_lo_hi(count=results, delta=1e-5, alpha=0.1, method="joint-beta")
        except ValueError as error:
            said = f"the peer raises: {error}"
        else:
            slow = time.perf_counter() - start
            assert (found.lower, found.upper) == pytest.approx(ends, abs=0.03)  # its tolerance is 0.01
            ratios.append(slow / fast)
            said = f"peer {slow:.1f} s, {ratios[-1]:,.0f} times as long"
        with capsys.disabled():
            print(f"\n{counts}: {1e3 * fast:.2f} ms; {said}", end="")
    with capsys.disabled():
        print(f"\nleast of the tables that the peer can do: {min(ratios):,.0f} times as long")


def _best_of(function, rounds=5, calls=20):
    """Seconds a call in the best round."""
    function()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        taken.append((time.perf_counter() - start) / calls)
    return min(taken)
