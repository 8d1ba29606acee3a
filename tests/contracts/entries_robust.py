"""Contracts of `sfumato.statistics.robust`.

Runs of equal scores are written out by the coupling: what is compared is the score of every point of a small grid.
"""

import warnings

import numpy as np
import pytest
from contract import Contract

from sfumato import Claim, PureDP, Release
from sfumato.statistics.robust import (
    DPDepthMean,
    DPDepthRegression,
    DPHodgesLehmann,
    DPMedian,
    DPPrincipalDirection,
    DPQuantile,
    DPScale,
    DPTrimmedMean,
    DPWinsorizedMean,
    FiniteRange,
    ProposeTestRelease,
    RobustToPrivate,
    median,
)

LOW, HIGH = -np.ones(9), np.ones(9)
#: The point at -1 is one replacement nearer for the second, and the wide gap above it one further.
FIRST = np.array([-1, -1, -1, -1, -0.9, 1, 1, 1, 1])
SECOND = np.append(FIRST[:-1], -1)


def fitted(estimator, *data):
    """Few records keep the audit cheap; the warning that they are few is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return estimator.fit(*data)


def repeated_choices(fit):
    """Fit n times, but score the candidates only once for each path of earlier choices."""

    def outputs(data, n, rng):
        choose, known = Release.choose, {}

        def after(path):
            """What is asked next, once those choices were made; None if nothing is."""
            asked = []

            def listen(self, scores, **declared):
                asked.append((scores, declared))
                return path[len(asked) - 1] if len(asked) <= len(path) else choose(self, scores, **declared)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Release, "choose", listen)
                fit(data)
            return asked[len(path)] if len(asked) > len(path) else None

        def walk(release):
            path = ()
            while True:
                if path not in known:
                    known[path] = after(path)
                if known[path] is None:
                    return path
                scores, declared = known[path]
                path += (choose(release, scores, **declared),)

        bound = PureDP(1e9)  # of the audit's many runs; each run's own was checked by the fits
        with Release(Claim(bound, neighbours="replace-one"), "an audit") as release:
            paths = np.array([walk(release) for _ in range(n)])
        return paths[:, 0] if paths.shape[1] == 1 else paths

    return outputs


def replaced(rng, n, draw):
    first = draw(rng, n)
    second = first.copy()
    second[int(rng.integers(n))] = draw(rng, 1)[0]
    return first, second


def choice(kind, fit, draw, worst, too_far, fewest=1, bug=6, name="pure"):
    return Contract(
        kind,
        name,
        fit(worst[0][0]).claim_,
        fit,
        lambda rng: replaced(rng, int(rng.integers(fewest, 12)), draw),
        repeated_choices(fit),
        worst,
        [too_far],
        trials=3000,
        bug=bug,
    )


def on_and_off_the_bounds(rng, n):
    return np.where(rng.random(n) < 0.5, rng.choice([-3.0, -1.0, 0.0, 1.0, 3.0], n), rng.normal(0, 0.5, n))


def one_number(kind, worst=(FIRST, SECOND), too_far=(LOW, HIGH), name="pure", **parameters):
    estimator = kind(2.0, **{"bounds": (-1, 1), "resolution": 0.1, **parameters})
    fit = lambda data: fitted(estimator, data)  # noqa: E731
    return choice(kind, fit, on_and_off_the_bounds, [worst], too_far, fewest=7, name=name)


def without_range():
    """Bins of four: neighbours keep them occupied, since a bin of one person is what δ is for, which the audit sees."""
    estimator = DPMedian(4.0, scale=1.0, delta=0.02, resolution=0.5)

    def fit(data):
        return fitted(estimator, data)

    def neighbours(rng):
        return tuple(np.append(x, [1.0, 2.0, 5.0, 6.0]) for x in replaced(rng, 60, lambda r, n: r.uniform(0, 8, n)))

    def outputs(data, n, rng):
        return np.nan_to_num([fit(data).estimate_ for _ in range(n)], nan=-1000.0)

    gap = np.repeat([0.1, 3.9], [31, 30])
    return Contract(
        DPMedian,
        "approximate",
        fit(gap).claim_,
        fit,
        neighbours,
        outputs,
        [(gap, np.append(gap[1:], 3.9)), (np.array([0.5]), np.array([100.5]))],
        [(np.full(61, 0.1), np.full(61, 3.9))],
        trials=1000,
        bug=12,
    )


def proposed():
    """Neighbours stay stable or unstable together but for a few, and those are what δ is for, which the audit sees."""
    estimator = ProposeTestRelease(4.0, scale=0.25, delta=0.02, trim=8, resolution=0.5)
    claim = fitted(estimator, np.zeros(20)).claim_

    def fit(data):
        return fitted(estimator, data)

    def outputs(data, n, rng):
        return np.nan_to_num([fit(data).estimate_ for _ in range(n)], nan=-1000.0)

    return Contract(
        ProposeTestRelease,
        "approximate",
        claim,
        fit,
        lambda rng: replaced(
            rng, 20, lambda r, n: r.choice([-9.0, 0.0, 0.5, 1.0, 9.0], n, p=[0.1, 0.25, 0.3, 0.25, 0.1])
        ),
        outputs,
        [(np.repeat([0.0, 1], [10, 10]), np.repeat([0.0, 1], [9, 11]))],
        [(np.repeat([0.0, 1], [20, 0]), np.repeat([0.0, 1], [0, 20]))],
        trials=1000,
        bug=12,
    )


def deepest():
    estimator = DPDepthMean(2.0, bounds=(-1, 1), grid_size=3)

    def corners(*counts):
        return np.repeat([[-1.0, -1], [1.0, -1]], counts, axis=0)

    def draw(rng, n):
        return np.where(rng.random((n, 2)) < 0.5, rng.choice([-3.0, -1, 0, 1, 3], (n, 2)), rng.normal(0, 0.5, (n, 2)))

    return choice(
        DPDepthMean,
        lambda data: fitted(estimator, data),
        draw,
        [(corners(5, 4), corners(4, 5))],
        (corners(9, 0), corners(0, 9)),
        fewest=3,
    )


def deepest_about_medians():
    """One column, so that few paths of choices are possible; both steps see the records move up."""
    estimator = DPDepthMean(2.0, bounds=(-1, 1), scale=0.1, resolution=0.25, grid_size=3)
    even = np.linspace(-1, 1, 9)[:, np.newaxis]
    return choice(
        DPDepthMean,
        lambda data: fitted(estimator, data),
        lambda rng, n: on_and_off_the_bounds(rng, n)[:, np.newaxis],
        [(even, np.append(even[1:], [[1.0]], axis=0))],
        (-np.ones((40, 1)), np.ones((40, 1))),
        fewest=3,
        bug=12,
        name="about private medians",
    )


def finite_range():
    def votes(x, candidates):
        return (x[:, np.newaxis] == candidates).sum(axis=0)

    estimator = FiniteRange(1.0, candidates=range(3), score=votes)
    worst = [(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 2]))]
    return choice(
        FiniteRange, estimator.fit, lambda rng, n: rng.integers(0, 3, n), worst, (np.full(9, 0), np.full(9, 1))
    )


def regression():
    estimator = DPDepthRegression(2.0, X_bounds=(-1, 1), y_bounds=(-1, 1), grid_size=3)

    def at(heights):
        return np.column_stack((np.linspace(-1, 1, len(heights)), heights))

    return choice(
        DPDepthRegression,
        lambda data: estimator.fit(data[:, :1], data[:, 1]),
        lambda rng, n: rng.uniform(-1.2, 1.2, (n, 2)),
        [(at([1.0, 1, -1, -1]), at([1.0, -1, -1, -1]))],
        (at([1.0] * 9), at([-1.0] * 9)),
        fewest=2,
    )


def direction():
    estimator = DPPrincipalDirection(2.0, net_size=8)

    def along(wide, high):
        return np.concatenate((np.tile([1.0, 0.1], (wide, 1)), np.tile([0.1, 1.0], (high, 1))))

    return choice(
        DPPrincipalDirection,
        estimator.fit,
        lambda rng, n: rng.normal(size=(n, 2)) * [2, 1],
        [(along(3, 2), along(2, 3))],
        (along(6, 0), along(0, 6)),
        fewest=2,
    )


CONTRACTS = [
    one_number(DPTrimmedMean, trim=3),
    one_number(DPWinsorizedMean, trim=3),
    one_number(DPMedian),
    one_number(DPQuantile, p=0.3, worst=(np.repeat([-1.0, 1], [3, 6]), np.repeat([-1.0, 1], [2, 7]))),
    one_number(RobustToPrivate, statistic=median),
    one_number(
        DPScale,
        bounds=(0.05, 5.0),
        resolution=0.2,
        worst=(np.repeat([-1.0, 0, 1], [3, 3, 3]), np.repeat([-1.0, 0, 1], [2, 4, 3])),
        too_far=(np.linspace(-0.06, 0.06, 9), np.linspace(-6, 6, 9)),
    ),
    one_number(
        DPScale,
        name="mad",
        statistic="mad",
        bounds=(0.05, 5.0),
        resolution=0.2,
        worst=(np.repeat([-1.0, 0, 1], [4, 5, 3]), np.repeat([-1.0, 0, 1], [4, 6, 2])),
        too_far=(np.linspace(-0.06, 0.06, 9), np.linspace(-6, 6, 9)),
    ),
    one_number(
        DPHodgesLehmann,
        worst=(np.array([-1.0, -1, -1, -1, -0.9, -0.9, -0.5, 0]), np.array([-1.0, -1, -1, -1, -0.9, -0.5, 0, 1])),
    ),
    deepest(),
    deepest_about_medians(),
    without_range(),
    proposed(),
    finite_range(),
    regression(),
    direction(),
]

WITHOUT_A_FORMAL_CLAIM: dict[str, str] = {}
