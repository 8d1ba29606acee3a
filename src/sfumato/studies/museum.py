"""The museum of broken privacy: mechanisms with a claim that they betray, the pair that shows it, and the fix.

For teaching, for `sfumato audit NAME`, and as a control of the auditor, which must catch each and pass each fix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks import mechanisms as m
from sfumato.attacks.bayesian_audit import Auditor, AuditReport, Mechanism, vector_pairs
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP, GaussianDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.studies.exhibit import Exhibit, Floats
from sfumato.studies.published_exhibits import published
from sfumato.studies.quantization_exhibit import quantization

SMOKE = 50_000  # counted trials a side where an exhibit needs no more


def exhibits() -> list[Exhibit]:
    """Return all exhibits: the classics, then published systems that the cards of this project show to fail."""
    return [
        *_noise(),
        *_sparse_vectors(),
        *_selection(),
        *_data_dependence(),
        *_survival(),
        *published(),
        *quantization(),
    ]


def names() -> list[str]:
    """Return the exhibits' names."""
    return [each.name for each in exhibits()]


def get(name: str) -> Exhibit:
    """Return an exhibit by name; InvalidData if there is none."""
    for each in exhibits():
        if each.name == name:
            return each
    raise InvalidData(f"no exhibit {name!r}; there are {', '.join(names())}")


def audit_exhibit(exhibit: Exhibit, *, fixed: bool = False, trials: int = SMOKE, seed: int | None = 0) -> AuditReport:
    """Audit an exhibit, or its fix, on its own pairs.

    Parameters
    ----------
    exhibit : Exhibit
    fixed : bool
        Audit the fix instead.
    trials : int
        Counted a side; an exhibit may need more and then takes more.
    seed : int, optional
    """
    mechanism = exhibit.fixed if fixed else exhibit.mechanism
    if mechanism is None:
        raise InvalidData(f"the exhibit {exhibit.name!r} has no fix to run")
    settings = {"n_train": trials // 4, "n_select": trials // 4, "n_test": trials, **exhibit.settings}
    auditor = Auditor(random_state=seed, progress=None, **settings)
    return auditor.audit(mechanism, exhibit.claim, pairs=exhibit.pairs)


def _pure(epsilon: float) -> Claim:
    return Claim(PureDP(epsilon))


def _noise() -> Iterator[Exhibit]:
    yield Exhibit(
        "float-laplace",
        "Laplace noise in floating point",
        "Mironov, CCS 2012; the textbook mechanism in any language",
        _pure(1.0),
        m.Laplace(1.0, naive=True),
        [(0.0, 1.0)],
        "x = 0 and x = 1",
        "The doubles that x + noise can take depend on x: one output in four has low bits that only x = 0 can have.",
        "Draw integers and release on a grid (`Release.laplace`).",
        _exact_laplace,
    )
    yield Exhibit(
        "float-gaussian",
        "Gaussian noise by Box and Muller in floating point",
        "Mironov, CCS 2012, for Gaussian noise; the textbook sampler in any language",
        Claim(GaussianDP(1.0)),
        _box_muller,
        [(0.0, 1.0)],
        "x = 0 and x = 1",
        "A small normal number has finer digits than 1 has: added to 1 they are rounded off, added to 0 they stay.",
        "Round to a grid coarser than the digits of any output, or draw integers (`Release.discrete_gaussian`).",
        m.Gaussian(1.0),
    )
    yield Exhibit(
        "wrong-scale",
        "A histogram with ε for the noise's scale",
        "StatDP's histogram 2 (Ding et al., CCS 2018)",
        _pure(0.5),
        m.NoisyHistogram(0.5, naive=True),
        vector_pairs(3, moves="one"),
        "three cells; one person more in one of them",
        "The scale is ε where it must be 1/ε: below ε = 1 too little noise, above it too much.",
        "State the scale in people: sensitivity over ε.",
        m.NoisyHistogram(0.5),
    )
    yield Exhibit(
        "reused-seed",
        "A seed that is used again",
        "any service that seeds its generator at each request",
        _pure(1.0),
        m.ReusesSeed(1.0),
        [(0, 1)],
        "x = 0 and x = 1",
        "Every call draws the same noise, so that one known answer reveals all others.",
        "Take noise from the system's entropy, once for each release; a seeded release here has a void claim.",
        m.Laplace(1.0),
    )
    yield Exhibit(
        "raises",
        "An exception on one input",
        "overflow bins, empty groups, asserts",
        _pure(1.0),
        m.LeaksByRaising(1.0),
        [(0, 1)],
        "x = 0 and x = 1",
        "An error that only one of two neighbours can cause is an answer too.",
        "Decide what can fail on public facts, before any record is read.",
        m.Laplace(1.0),
    )


def _sparse_vectors() -> Iterator[Exhibit]:
    half = (np.repeat([0.0, 1.0], 6), np.repeat([1.0, 0.0], 6))
    variants = {
        "prints": (3, "The printed answer bounds the threshold's noise, which then shields the refusals no more."),
        "small-noise": (4, "The noise of the queries is that of a quarter of the budget for any number of answers."),
        "no-noise": (5, "Queries are compared without noise of their own: two of them tell two data sets apart."),
        "no-cut-off": (6, "It answers for ever on one budget: each positive answer costs, and none is charged."),
    }
    for broken, (number, wrong) in variants.items():
        rare = broken == "prints"
        yield Exhibit(
            f"svt-{number}",
            f"Sparse vector technique, variant {number}",
            "as numbered by Lyu, Su and Li (VLDB 2017), who collected six published variants",
            _pure(1.0),
            m.SparseVector(1.0, broken=broken),
            [(np.zeros(7), np.ones(7))] if rare else [half],
            "seven queries at 0 or at 1" if rare else "twelve queries at 0 or 1; one person moves each of them by one",
            wrong,
            "Variant 1: half the budget on the threshold, half on each query, one answer, then stop.",
            m.SparseVector(1.0),
            {"n_select": 500_000, "n_test": 2_000_000, "scores": ("threshold",), "candidates": 2} if rare else {},
        )


def _selection() -> Iterator[Exhibit]:
    yield Exhibit(
        "noisy-max-value",
        "Report-noisy-max that returns the value",
        "StatDP's noisy max 2 (Ding et al., CCS 2018)",
        _pure(1.0),
        m.ReportNoisyMax(1.0, value=True),
        vector_pairs(5),
        "five queries; one person moves any of them by one, up or down",
        "The proof pays for the index alone; the largest of d noisy values tells them all apart.",
        "Return the index, and pay for a value with fresh noise.",
        m.ReportNoisyMax(1.0),
    )
    low = np.array([-1.0, 0.0, 0.0, 0.0])
    yield Exhibit(
        "noisy-max-zcdp",
        "Laplace noisy max, accounted as ε²/8-zCDP",
        "the bound of the exponential mechanism, lent to a mechanism that is not one",
        Claim(ZCDP(0.5**2 / 8)),
        m.ReportNoisyMax(0.5),
        [(low, low + np.array([1.0, -1.0, -1.0, -1.0]))],
        "four queries; one person moves the first up by one and the others down by one",
        "ε²/8 rests on a bounded range of privacy losses, which Gumbel noise has and Laplace noise has not.",
        "Add Gumbel noise, which is the exponential mechanism, or charge ε²/2.",
        _gumbel_max,
        {"n_select": 500_000, "n_test": 8_000_000, "candidates": 1},
    )


def _data_dependence() -> Iterator[Exhibit]:
    yield Exhibit(
        "data-bounds",
        "Bounds read from the data",
        "defaults of many scalers and of early DP libraries, where a missing range means min and max",
        _pure(1.0),
        m.DataBounds(1.0),
        [(np.array([1.0] + [0.0] * 9), np.zeros(10))],
        "ten values in [0, 1]; one person has 1 instead of 0, and all others 0",
        "The range is one person's secret, and so is the noise that follows it: equal values get none.",
        "Declare bounds that are public, clip to them, and scale the noise to them.",
        _bounded_mean,
    )


def _survival() -> Iterator[Exhibit]:
    from sfumato.statistics.survival import DPKaplanMeier
    from sfumato.statistics.survival.countmatrix import CountMatrixKM
    from sfumato.statistics.survival.fixtures import counterexample
    from sfumato.statistics.survival.smoothers import SmoothedCurveKM
    from sfumato.statistics.survival.timewise import TimewiseLaplaceKM
    from sfumato.studies.survival_audit import noisy_tables

    example = counterexample()
    settings = {"scores": ("threshold", "histogram")}

    def ours(neighbours: Any) -> Mechanism:
        subject = DPKaplanMeier(1.0, edges=np.linspace(0, 120, 7).tolist(), neighbours=neighbours)
        return lambda cohort, n, rng, /: noisy_tables(subject, cohort, n)

    yield Exhibit(
        "timewise-survival",
        "A survival curve with noise at each time",
        "a reconstruction of arXiv 2412.05164 from its abstract (system 01)",
        Claim(PureDP(1.0), neighbours="replace-one"),
        _sampled(TimewiseLaplaceKM(1.0, "at_risk", grid=example.grid, i_know_this_is_not_private=True)),
        [(example.first, example.second)],
        "a cohort in which all but one are censored early; that one dies late, or is another patient",
        "One patient can move a late point of the curve from 0 to 1; the noise there is that of a well-filled one.",
        "Put the noise on a life table, in which a patient is one count (`DPKaplanMeier`).",
        ours("replace-one"),
        settings,
    )
    yield Exhibit(
        "smoothed-survival",
        "A smoothed survival curve with leave-one-out noise",
        "arXiv 2509.00615, its cosine variant (system 01)",
        _pure(1.0),
        _sampled(SmoothedCurveKM(1.0, "dct", horizon=100.0, i_know_this_is_not_private=True)),
        [(example.first, example.without)],
        "the same cohort with the late patient and without",
        "The sensitivity is measured on the cohort at hand: where leaving anyone out moves nothing, no noise is added.",
        "Bound the sensitivity over all cohorts, or put the noise on a life table (`DPKaplanMeier`).",
        ours("add-remove"),
        settings,
    )
    yield Exhibit(
        "observed-times",
        "Noisy counts at the observed times",
        "Gondara and Wang (UAI 2020), with the grid of the non-private estimator",
        _pure(1.0),
        _sampled(CountMatrixKM(1.0, i_know_this_is_not_private=True)),
        [(example.first, example.without)],
        "the same cohort with the late patient and without",
        "The counts are noisy, the times are not: a time at which one patient died is in the output or is not.",
        "Count in public intervals.",
        _sampled(CountMatrixKM(1.0, grid=example.grid, i_know_this_is_not_private=True)),
        settings,
    )


def _sampled(victim: Any) -> Callable[[Any, int, np.random.Generator], Floats]:
    def mechanism(cohort: Any, n: int, rng: np.random.Generator, /) -> Floats:
        return np.asarray(victim.sample(*cohort, n, rng), dtype=np.float64)

    return mechanism


def _exact_laplace(x: Any, n: int, rng: np.random.Generator, /) -> Floats:
    """n independent releases at ε = 1: a vector of n values, each with the noise of its own release."""
    with Release(_pure(1.0 * n), purpose="audit") as release:
        return np.asarray(release.laplace(np.full(n, float(x)), l1_sensitivity=n, epsilon=1.0 * n))


def _box_muller(x: Any, n: int, rng: np.random.Generator, /) -> Floats:
    radius = np.sqrt(-2 * np.log(1 - rng.random(n)))
    return np.asarray(x + radius * np.cos(2 * np.pi * rng.random(n)), dtype=np.float64)


def _gumbel_max(x: Any, n: int, rng: np.random.Generator, /) -> NDArray[np.int64]:
    noisy = np.asarray(x) + rng.gumbel(scale=2 / 0.5, size=(n, len(x)))
    return np.asarray(noisy.argmax(axis=1))


def _bounded_mean(x: Any, n: int, rng: np.random.Generator, /) -> Floats:
    values = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    noisy = values.mean() + rng.laplace(scale=1 / len(values), size=n)
    return np.asarray(np.round(noisy * 2**20) / 2**20, dtype=np.float64)


def to_markdown(trials: int = 200_000, seed: int = 0) -> str:
    """Return the docs page: every exhibit with its claim, pair, certified ε and fix, audited now."""
    lines = [
        "# The museum of broken privacy",
        "",
        "Each mechanism here was published, shipped, or is a mistake that is made again and again. Each comes with a",
        "claim that it betrays, with the pair of inputs that shows it, and with its fix, in which the same audit finds",
        'nothing. "Certified" is an exact lower bound of ε at 95 % confidence; run any of them yourself:',
        "",
        "```bash",
        "sfumato audit --list",
        "sfumato audit float-laplace --fixed --trials 20000",
        "```",
        "",
        "Without `--fixed` the exit code is 1, since the claim is violated.",
    ]
    for exhibit in exhibits():
        broken, fixed = (audit_exhibit(exhibit, fixed=f, trials=trials, seed=seed) for f in (False, True))
        lines += [
            "",
            f"## {exhibit.title}",
            "",
            f"`{exhibit.name}` · {exhibit.source}",
            "",
            "| | |",
            "|---|---|",
            f"| claim | {exhibit.claim.bound} ({exhibit.claim.neighbours}) |",
            f"| pair | {exhibit.told_apart} |",
            f"| certified | {_finding(broken)} |",
            f"| what is wrong | {exhibit.wrong} |",
            f"| the fix | {exhibit.fix} |",
            f"| the fix, audited | {_finding(fixed)} |",
        ]
    return "\n".join(lines) + "\n"


def _finding(report: AuditReport) -> str:
    return f"{report.verdict}: ε ≥ {report.eps_lower:.3f}, {report.n:,} runs a side, by “{report.event}”"
