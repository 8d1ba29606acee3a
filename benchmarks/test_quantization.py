"""Reports a second, beside what numpy's insecure generator does, our discrete Gaussian, and OpenDP's; prints ratios.

`pytest benchmarks/test_quantization.py -s`. RQM's peers are research code that no registry has, so its algorithm is
written out twice in numpy: as the paper states it, with a mask of kept levels, and with geometric numbers. Measured on
two cores shared with others (load 9): RQM 243 ns a coordinate, so 10^8 in 24 s; numpy with a mask 388 ns, with
geometric numbers 179 ns; our discrete Gaussian 264 ns; OpenDP's 450 µs; PBM with 15 exact coins 93 ns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from sfumato import ZCDP, Claim, PureDP, Release
from sfumato.federation.quantization import PBM, RQM
from sfumato.federation.quantization.rotation import hadamard

MECHANISM = RQM(1.5, 1.5)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def masks(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The paper's steps: a coin for each level, then the kept levels around each number."""
    m, reports = MECHANISM.levels, np.empty(len(x), np.uint8)
    place = np.arange(m)
    for start in range(0, len(x), 1 << 15):
        u = (x[start : start + (1 << 15), None] + MECHANISM.half_width) / MECHANISM.step
        kept = rng.random((len(u), m)) < MECHANISM.keep_probability
        kept[:, [0, -1]] = True
        a = m - 1 - (kept & (place <= u))[:, ::-1].argmax(axis=1)
        b = (kept & (place > u)).argmax(axis=1)
        reports[start : start + (1 << 15)] = np.where(rng.random(len(u)) < (u[:, 0] - a) / (b - a), b, a)
    return reports


def geometrics(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    u = (x + MECHANISM.half_width) / MECHANISM.step
    j = np.floor(u).astype(np.int64)
    a = np.maximum(j - (rng.geometric(MECHANISM.keep_probability, len(x)) - 1), 0)
    b = np.minimum(j + rng.geometric(MECHANISM.keep_probability, len(x)), MECHANISM.levels - 1)
    return np.where(rng.random(len(x)) < (u - a) / (b - a), b, a).astype(np.uint8)


def gaussian(n: int) -> None:
    with Release(Claim(ZCDP(1.0)), "benchmark") as release:
        release.discrete_gaussian(np.zeros(n, np.int64), l2_sensitivity=10.0, rho=1.0)


def opendp_gaussian(n: int) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    dp.m.make_gaussian(*space, scale=7.0)([0] * n)


def test_encoding_beside_numpy_and_discrete_gaussians(capsys):
    n = 10_000_000
    x = np.random.default_rng(0).uniform(-1.5, 1.5, n)
    rng = np.random.default_rng(1)
    MECHANISM.encode(x[:1000])
    own = seconds(lambda: MECHANISM.encode(x)) / n
    peers = {
        "PBM, 15 exact coins": seconds(lambda: PBM(1.5, 0.25).encode(x[: n // 10])) / (n // 10),
        "numpy, a mask of levels": seconds(lambda: masks(x[: n // 10], rng)) / (n // 10),
        "numpy, geometric numbers": seconds(lambda: geometrics(x[: n // 10], rng)) / (n // 10),
        "our discrete Gaussian": seconds(lambda: gaussian(n // 10)) / (n // 10),
        "OpenDP's discrete Gaussian": seconds(lambda: opendp_gaussian(20_000)) / 20_000,
    }
    told = "".join(f"; {name} {1e9 * each:.0f} ns ({each / own:.1f}×)" for name, each in peers.items())
    with capsys.disabled():
        print(f"\nRQM, exact and secure: {1e9 * own:.0f} ns a coordinate, 10^8 in {1e8 * own:.1f} s{told}")


def test_laws_and_rotation(capsys):
    taken = {
        "ε₂ of the sum of 40": seconds(lambda: RQM(1.5, 1.501).renyi(2, 40)),
        "the same, proved": seconds(lambda: RQM(1.5, 1.502).renyi(2, 40, "certified")),
        "calibration, one report": seconds(lambda: RQM.calibrate(5.0)),
        "rotation of 40 vectors of 2^16": seconds(lambda: hadamard(np.ones((40, 1 << 16)))),
    }
    with capsys.disabled():
        print("\n" + "; ".join(f"{name} {each:.3f} s" for name, each in taken.items()))


def test_the_claim_is_pure():
    assert isinstance(MECHANISM.claim.bound, PureDP)
