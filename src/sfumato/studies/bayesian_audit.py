"""Study of system 31: intervals for ε, false alarms, what the auditor catches, and canaries in training.

Zanella-Béguelin et al., "Bayesian Estimation of Differential Privacy" (ICML 2023, arXiv 2206.05199), and the exact
tests beside it. Coverage, false alarms and power are simulated; the training is of public digits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from scipy import stats

from sfumato.attacks import mechanisms as m
from sfumato.attacks.bayesian_audit import (
    AttackCounts,
    Auditor,
    CanaryGame,
    EpsilonPosterior,
    epsilon_interval,
    fdp_one_run,
    gaussian_epsilon,
    lira,
    one_run_epsilon,
    one_run_pvalue,
)
from sfumato.attacks.bayesian_audit.fdp import refutes_gaussian
from sfumato.privacy.bounds import ApproxDP, GaussianDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.studies import gradient_canaries
from sfumato.studies.museum import audit_exhibit, exhibits
from sfumato.studies.study import Row, Scale, Study, StudyResult
from sfumato.studies.training_canaries import DigitsTraining

README = AttackCounts(487, 0, 512, 1)
DELTA = 1e-5

_AUDITS = {"smoke": 100, "small": 400, "full": 1000}  # of each true mechanism
_TABLES = {"smoke": 100, "small": 300, "full": 1000}  # simulated attacks for coverage
_RUNS = {"smoke": 300, "small": 1000, "full": 10_000}
_MODELS = {"smoke": 200, "small": 1000, "full": 4000}
_STEPS = {"smoke": 1000, "small": 3000, "full": 10_000}
_TRIALS = {"smoke": 20_000, "small": 50_000, "full": 200_000}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run bayesian-audit`."""
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    museum = list(_museum(scale, seed))
    rows = [
        *_interval_rows(),
        *_width_rows(),
        *_coverage_rows(scale, rng),
        *_false_alarm_rows(scale),
        *(row for row, _ in museum),
        *_tight_rows(scale, seed),
        *_one_run_rows(scale, rng),
        *_profile_rows(scale, seed),
        *_canary_rows(scale, seed),
        *_calibrated_rows(scale, seed),
        *_gradient_rows(scale, seed),
    ]
    figures = {"museum": _picture([found for _, found in museum])}
    return StudyResult(rows, scale, time.perf_counter() - start, figures)


def _interval_rows() -> Iterator[Row]:
    ours = epsilon_interval(README, DELTA, 0.1)
    yield Row(
        "90 % interval, TP 487, FN 0, FP 512, TN 1, δ = 1e-5",
        "[0.145, 6.399] (the published code's README)",
        f"[{ours.lower:.4f}, {ours.upper:.4f}]",
        abs(ours.lower - 0.1439) < 1e-4 and abs(ours.upper - 6.4156) < 1e-4,
    )
    for method in ("clopper-pearson", "jeffreys"):
        found = epsilon_interval(README, DELTA, 0.1, method=method)
        yield Row(
            f"the same by {method}",
            "[0, ∞] (README)",
            f"[{found.lower:.4g}, {found.upper:.4g}]",
            found.lower == 0 and found.upper == math.inf,
        )


def _width_rows() -> Iterator[Row]:
    """Widths on the counts expected of the best attack on randomized response, made asymmetric."""
    narrower, beside_jeffreys = [], []
    for epsilon in (0.5, 1.0, 2.0, 4.0):
        for n in (100, 500, 1000):
            for wrong in (0.05, 0.2, 0.5):
                right = min(math.exp(epsilon) * wrong, 1 - math.exp(-epsilon) * (1 - wrong))
                tp, fp = round(n * right), round(n * wrong)
                counts = AttackCounts(tp, n - tp, fp, n - fp)
                widths = {}
                for method in ("joint-beta", "clopper-pearson", "jeffreys"):
                    ends = epsilon_interval(counts, DELTA, 0.05, method=method)
                    widths[method] = ends.upper - ends.lower
                if math.isfinite(widths["clopper-pearson"]):
                    narrower.append(1 - widths["joint-beta"] / widths["clopper-pearson"])
                if math.isfinite(widths["jeffreys"]):
                    beside_jeffreys.append(widths["joint-beta"] / widths["jeffreys"] - 1)
    median = float(np.median(narrower))
    yield Row(
        "joint-beta narrower than Clopper-Pearson, median (least, most) over 36 attacks",
        "around 40 % (abstract), up to 40 % (text)",
        f"{median:.0%} ({min(narrower):.0%}, {max(narrower):.0%})",
        0.2 <= median <= 0.45,
    )
    yield Row(
        "joint-beta wider than the Jeffreys rectangle, at most",
        "never (our notes: by at most 1 %)",
        f"{max(beside_jeffreys):+.1%}",
        max(beside_jeffreys) <= 0.01,
    )


def _coverage_rows(scale: Scale, rng: np.random.Generator) -> Iterator[Row]:
    cells = [
        (0.0, 0.0, 0.5, ".000"), (0.0, DELTA, 0.5, ".000"), (0.0, 0.01, 0.5, ".940"),
        (1.0, DELTA, 0.1, ".947"), (1.0, DELTA, 0.01, ".963"), (3.0, DELTA, 0.01, ".940"),
    ]  # fmt: skip
    for epsilon, delta, wrong, said in cells:
        right = min(math.exp(epsilon) * wrong + delta, 1.0)
        hits = rng.binomial(500, right, _TABLES[scale]), rng.binomial(500, wrong, _TABLES[scale])
        covered = {"joint-beta": 0, "clopper-pearson": 0}
        for tp, fp in zip(*hits, strict=True):
            counts = AttackCounts(int(tp), 500 - int(tp), int(fp), 500 - int(fp))
            # the lower end of the 95 % interval is at most the 0.025 quantile
            covered["joint-beta"] += EpsilonPosterior(counts, delta).cdf(epsilon) >= 0.025
            covered["clopper-pearson"] += (
                epsilon_interval(counts, delta, 0.025, method="clopper-pearson", side="lower").lower <= epsilon
            )
        shares = {name: count / _TABLES[scale] for name, count in covered.items()}
        least = stats.binom.ppf(1e-6, _TABLES[scale], 0.975) / _TABLES[scale]
        yield Row(
            f"the lower end holds, true ε = {epsilon:g}, δ = {delta:g}, false positives {wrong:g}, 500 a side",
            f"joint-beta {said} two-sided; Clopper-Pearson .997 to 1.000 (our notes)",
            f"joint-beta {shares['joint-beta']:.3f}; Clopper-Pearson {shares['clopper-pearson']:.3f}",
            bool(shares["clopper-pearson"] >= least),
        )


def _false_alarm_rows(scale: Scale) -> Iterator[Row]:
    sound: list[tuple[str, Any, Claim]] = [
        ("Laplace, ε = 1", m.Laplace(1), Claim(PureDP(1))),
        ("noise that ignores its input, ε = 0", m.Laplace(0), Claim(PureDP(0))),
        ("randomized response, ε = 1", m.RandomizedResponse(1), Claim(PureDP(1))),
        ("geometric, ε = 0.5", m.Geometric(0.5), Claim(PureDP(0.5))),
        ("Gaussian, μ = 1", m.Gaussian(1), Claim(GaussianDP(1))),
    ]
    n = _AUDITS[scale]
    most = stats.binom.isf(1e-6, n, 0.05)
    for name, mechanism, claim in sound:
        alarms = 0
        for seed in range(n):
            auditor = Auditor(n_train=1000, n_select=1000, n_test=2000, random_state=seed, progress=False)
            alarms += auditor.audit(mechanism, claim, pairs=[(0, 1)]).verdict == "violation"
        yield Row(
            f"false alarms, {name}: audits at the exact claim",
            "at most 5 %",
            f"{alarms} of {n} ({alarms / n:.1%})",
            bool(alarms <= most),
        )


def _museum(scale: Scale, seed: int) -> Iterator[tuple[Row, tuple[str, float, float, float]]]:
    for exhibit in exhibits():
        broken = audit_exhibit(exhibit, trials=_TRIALS[scale], seed=seed)
        fixed = audit_exhibit(exhibit, fixed=True, trials=_TRIALS[scale], seed=seed)
        claimed = exhibit.claim.epsilon_at(broken.delta)
        row = Row(
            f"[museum](../museum.md): {exhibit.name}, {exhibit.claim.bound}",
            exhibit.source,
            f"{broken.verdict}: ε ≥ {broken.eps_lower:.3f}; its fix: {fixed.verdict}, ε ≥ {fixed.eps_lower:.3f}",
            broken.verdict == "violation" and fixed.verdict != "violation",
        )
        yield row, (exhibit.name, broken.eps_lower, fixed.eps_lower, claimed)


def _tight_rows(scale: Scale, seed: int) -> Iterator[Row]:
    def ours(x: float, n: int, rng: np.random.Generator, /) -> Any:
        with Release(Claim(PureDP(1.0 * n)), purpose="audit") as release:
            return release.laplace(np.full(n, x), l1_sensitivity=n, epsilon=1.0 * n)

    def opendp(x: float, n: int, rng: np.random.Generator, /) -> Any:
        import opendp.prelude as dp

        dp.enable_features("contrib")
        domain = dp.vector_domain(dp.atom_domain(T=float, nan=False))
        noise = dp.m.make_laplace(domain, dp.l1_distance(T=float), scale=1.0)
        return np.array(noise([x] * n))

    trials = {"smoke": 50_000, "small": 200_000, "full": 200_000}[scale]
    auditor = Auditor(n_train=20_000, n_select=20_000, n_test=trials, random_state=seed, progress=False)
    least = 0.93 if trials == 200_000 else 0.9
    for name, mechanism in (("OpenDP's Laplace", opendp), ("Laplace of a Release", ours)):
        report = auditor.audit(mechanism, Claim(PureDP(1.0)), pairs=[(0.0, 1.0)])
        yield Row(
            f"{name} at ε = 1, {trials:,} runs a side",
            "ε ≥ .93 to 1.0 (our notes)",
            f"{report.verdict}: ε ≥ {report.eps_lower:.3f}",
            bool(least <= report.eps_lower <= 1.0 and report.verdict != "violation"),
        )


def _one_run_rows(scale: Scale, rng: np.random.Generator) -> Iterator[Row]:
    runs = _RUNS[scale]
    for epsilon in (0.5, 2.0):
        right = rng.binomial(1000, 1 / (1 + math.exp(-epsilon)), runs)
        wrong = sum(one_run_pvalue(1000, 1000, int(v), epsilon, 0.0) < 0.05 for v in right)
        yield Row(
            f"one run, 1000 canaries: rejections of the true ε = {epsilon:g}",
            "at most 5 % (Steinke et al. 2023)",
            f"{wrong} of {runs} ({wrong / runs:.1%})",
            bool(wrong <= stats.binom.isf(1e-6, runs, 0.05)),
        )
    for mu, said in ((1.0, "1.297 against .690"), (2.0, "2.833 against 1.521"), (4.0, "6.449 against 3.394")):
        right = rng.binomial(1000, stats.norm.cdf(mu / 2), runs)
        wrong = sum(refutes_gaussian(1000, 1000, int(v), mu, 0.05) for v in right)
        v = int(1000 * stats.norm.cdf(mu / 2))
        tight, loose = gaussian_epsilon(fdp_one_run(1000, 1000, v), DELTA), one_run_epsilon(1000, 1000, v, DELTA)
        yield Row(
            f"one run, Gaussian canaries at μ = {mu:g} (ε = {gaussian_epsilon(mu, DELTA):.2f}): ε by f-DP, and without",
            f"{said} (our notes)",
            f"{tight:.3f} against {loose:.3f}; the true μ rejected in {wrong} of {runs}",
            bool(wrong <= stats.binom.isf(1e-6, runs, 0.05) and tight >= loose),
        )


def _canary_rows(scale: Scale, seed: int) -> Iterator[Row]:
    many = _MODELS[scale]
    few = many // 50
    for sigma in (1.0, 2.0):
        single, pooled = (DigitsTraining(n, "gradient", sigma=sigma) for n in (1, 100))
        claim = single.claim(DELTA)
        one = CanaryGame(train=single.train, score=single.score, n_models=many).run(
            claim, delta=DELTA, random_state=seed
        )
        hundred = CanaryGame(train=pooled.train, score=pooled.score, n_models=few, m=100).run(
            claim, delta=DELTA, random_state=seed
        )
        at_once = CanaryGame(train=pooled.train, score=pooled.score, n_models=1, m=100).run(
            claim, delta=DELTA, random_state=seed
        )
        ends = [[r.posterior.quantile(p) for p in (0.05, 0.95)] for r in (one, hundred)]
        promised = claim.epsilon_at(DELTA)
        bounds = f"exact ε ≥ {one.eps_lower:.2f} from {many} models, ε ≥ {at_once.eps_lower:.2f} from one"
        yield Row(
            f"DP-SGD on digits, claimed ε = {promised:.1f}, gradient canaries",
            "ε̂ near the claim for gradient canaries, far below it for others (figures not recovered)",
            f"{bounds} with 100 canaries (accuracy {single.accuracy(single.train(np.ones(1, np.bool_), seed)):.2f})",
            bool(max(one.eps_lower, at_once.eps_lower) <= promised),
        )
        yield Row(
            f"the same: estimates from {many} models with one canary, and {few} with 100",
            "up to two orders of magnitude fewer models (abstract)",
            f"[{ends[0][0]:.2f}, {ends[0][1]:.2f}] and [{ends[1][0]:.2f}, {ends[1][1]:.2f}], "
            f"design effect {hundred.design_effect:.2f}",
            bool(ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1]),
        )


def _profile_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """Sixteen Gaussians of noise 8, audited against the whole curve of dp-accounting's privacy loss distribution."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    curve = pld.from_gaussian_mechanism(8.0, use_connect_dots=True).self_compose(16)
    claim = Claim(ApproxDP(curve.get_epsilon_for_delta(1e-6), 1e-6))
    for error, what in ((1.0, "sound"), (0.8, "a fifth too little noise")):

        def mechanism(x: float, n: int, rng: np.random.Generator, /, error: float = error) -> Any:
            return np.round((x + rng.normal(scale=8.0 * error, size=(n, 16))).sum(axis=1) * 2**20) / 2**20

        auditor = Auditor(
            n_train=10_000, n_select=10_000, n_test=_TRIALS[scale], random_state=seed, progress=False, alpha=1e-3
        )
        whole = auditor.audit(mechanism, claim, pairs=[(0, 1)], profile=curve.get_delta_for_epsilon)
        point = auditor.audit(mechanism, claim, pairs=[(0, 1)])
        yield Row(
            f"16 composed Gaussians, {what}: against the whole PLD curve; against its point at δ = 1e-6",
            "a curve says more than a point (our design)",
            f"{whole.verdict}; {point.verdict}",
            (whole.verdict == "violation") == (error < 1) and (point.verdict != "violation" or error < 1),
        )


def _calibrated_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """Digits with wrong labels as canaries: harder or easier by the digit, which shadow runs tell."""
    if scale == "smoke":
        return
    training = DigitsTraining(100, "label", sigma=0.3)
    found = {}
    for name, calibrate in (("raw", None), ("LiRA", lira)):
        game = CanaryGame(train=training.train, score=training.score, n_models=60, m=100, calibrate=calibrate)
        found[name] = game.run(training.claim(DELTA), delta=DELTA, random_state=seed)
    yield Row(
        "wrong labels, noise multiplier 0.3: AUC of the raw score and of LiRA, the 60 runs themselves as shadows",
        "calibration helps (Carlini et al. 2022)",
        ", ".join(f"{name} {each.auc:.3f}" for name, each in found.items()),
        found["LiRA"].auc > found["raw"].auc,
    )


def _gradient_rows(scale: Scale, seed: int) -> Iterator[Row]:
    for halved, what in ((False, "as it is"), (True, "half the noise that it states")):
        measured, holds = "not installed: sfumato[train]", cast(bool | None, None)
        if gradient_canaries.installed():
            report = gradient_canaries.watch_steps(_STEPS[scale], sigma=1.0, halved=halved, delta=DELTA, seed=seed)
            evidence = report.to_evidence()
            claimed = report.claim.epsilon_at(DELTA)
            measured = (
                f"{evidence.verdict}: ε ≥ {report.eps_lower:.2f} a step, {claimed:.2f} stated, AUC {report.auc:.3f}"
            )
            holds = (evidence.verdict == "falsified") == halved
            if scale == "smoke" and not halved:
                holds = None  # one sound run in twenty is accused
        yield Row(
            f"Opacus on digits, noise multiplier 1, a gradient canary in half of {_STEPS[scale]} steps: {what}",
            "tight per step (Nasr et al. 2023)",
            measured,
            holds,
        )


def _picture(found: list[tuple[str, float, float, float]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found))
    axes.barh(places + 0.2, [broken for _, broken, _, _ in found], 0.4, label="exhibit")
    axes.barh(places - 0.2, [fixed for _, _, fixed, _ in found], 0.4, label="its fix")
    axes.scatter([claimed for *_, claimed in found], places, marker="|", s=200, color="black", label="claimed ε")
    axes.set_yticks(places, [name for name, *_ in found])
    axes.invert_yaxis()
    axes.set_xlabel("certified lower bound of ε (95 % confidence)")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


STUDY = Study(
    31,
    "bayesian-audit",
    "Bayesian estimation of differential privacy, and the auditor",
    """Verdicts come from exact binomial tests alone. The joint-beta posterior is the paper's estimate and is shown
beside them: at a true ε of 0 its lower end is above 0 nearly always, so it may falsify nothing.

- "Our notes" are figures measured before this code was written.
- Coverage is of the lower end of a 95 % two-sided interval, since an audit speaks by its lower end.
- The paper's models (CIFAR-10, SST-2) are not here; DP-SGD on scikit-learn's digits, in NumPy, stands for them. Its
  noise is simulated.
- Many canaries in many models are taken for independent, as in the paper: an estimate without a verdict.""",
    run,
)
