"""Study 45: HyperFL beside federated averaging, private heads and training alone; and what its sound variants cost.

For whoever wonders what sharing a hypernetwork gains and costs. Guo et al. (AAAI 2025, arXiv 2412.07187); its figures
are from summaries of its tables. What attackers see of it: the rows of the attacks, which join these.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.data.images import mnist5k
from sfumato.federation.in_process import InProcess
from sfumato.federation.rounds import Terms
from sfumato.privacy.bounds import ApproxDP
from sfumato.studies.study import Row, Scale, Study, StudyResult

Silo = tuple[NDArray[np.float32], NDArray[np.int64]]

GROUPS = ((0, 1, 2), (2, 3, 4), (4, 5, 6), (6, 7, 8), (8, 9, 0))
EPSILON, DELTA = 8.0, 1e-5
OURS, AVERAGED, HEADS, ALONE = "HyperFL", "FedAvg", "private heads", "alone"
PRIVATE = ("HyperFL", "DP-FedAvg", "private heads")

_LIMIT = 256 << 20


@dataclass(frozen=True)
class _Size:
    data: Literal["digits", "mnist"]
    silos: int
    rows: int  # to train on, a silo
    tests: int
    rounds: int
    private_rounds: int
    hidden: int
    batch: int
    rate: float  # of SGD
    hyper_rate: float
    seeds: int


_SCALES: dict[Scale, _Size] = {
    "smoke": _Size("digits", 5, 60, 30, 2, 1, 8, 20, 0.1, 0.05, 1),
    "small": _Size("mnist", 20, 150, 35, 12, 2, 8, 50, 0.1, 0.05, 1),
    "full": _Size("mnist", 20, 150, 35, 30, 5, 64, 50, 0.1, 0.05, 3),
}


def set_apart(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row numbers to train on and to test on: a fifth of each class, the same for all seeds.

    Rates were chosen on images that silos train on, and none on those set apart.
    """
    random = np.random.default_rng(45)
    each = [random.permutation(np.flatnonzero(labels == c)) for c in range(10)]
    test = np.concatenate([rows[: len(rows) // 5] for rows in each])
    return np.setdiff1d(np.arange(len(labels)), test), test


def deal(
    labels: NDArray[np.int64], pool: NDArray[np.int64], silos: int, rows: int, seed: int
) -> list[NDArray[np.int64]]:
    """Deal rows out as the official code does: a fifth of a silo from all classes, the rest from three.

    Returns
    -------
    list of ndarray
        Row numbers of each silo; no row is in two.

    Raises
    ------
    ValueError
        If the pool does not suffice.
    """
    random = np.random.default_rng([seed, 45])
    left = {c: list(random.permutation(pool[labels[pool] == c])) for c in range(10)}

    def take(group: tuple[int, ...]) -> NDArray[np.int64]:
        of_all = round(0.2 * rows)
        wanted = [*np.resize(random.permutation(10), of_all), *np.resize(group, rows - of_all)]
        if any(len(left[c]) < wanted.count(c) for c in range(10)):
            raise ValueError("there are too few images of a class for so many silos")
        return np.array([left[c].pop() for c in wanted], np.int64)

    return [take(GROUPS[k % 5]) for k in range(silos)]


def silos(scale: Scale, seed: int) -> tuple[list[Silo], list[Silo]]:
    """Return training and test images of each silo, at a scale."""
    size = _SCALES[scale]
    if size.data == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        images, labels = (found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64)
    else:
        flat, labels = mnist5k()
        images = ((flat.reshape(-1, 1, 28, 28) - 0.1307) / 0.3081).astype(np.float32)
    places = (
        deal(labels, pool, size.silos, rows, seed)
        for pool, rows in zip(set_apart(labels), (size.rows, size.tests), strict=True)
    )
    train, test = ([(images[rows], labels[rows]) for rows in each] for each in places)
    return train, test


@dataclass(frozen=True)
class Trained:
    """One method's run: accuracy of each silo's model on its test images, bytes and seconds of a round.

    `common` is that of what is shared, as it comes from the last averaging, where that is a whole classifier.
    """

    accuracies: NDArray[np.float64]
    common: NDArray[np.float64] | None
    bytes_up: float
    seconds: float
    model: Any

    @property
    def accuracy(self) -> float:
        """Mean over the silos."""
        return float(np.mean(self.accuracies))


def methods(scale: Scale, seed: int) -> dict[str, Any]:
    """Return the estimators by name, at a scale."""
    from sfumato.federation.hypernetwork import FederatedAveraging, HyperFL

    size = _SCALES[scale]
    extractor = {"digits": "cnn-digits", "mnist": "cnn-mnist"}[size.data]
    common: dict[str, Any] = {"batch_size": size.batch, "random_state": seed}
    plain = {**common, "rounds": size.rounds, "learning_rate": size.rate}
    own: dict[str, Any] = {"hidden_dim": size.hidden, "embedding_seed": seed}
    hyper = {**plain, **own, "learning_rate": size.hyper_rate}
    found = {
        OURS: HyperFL(extractor, **hyper),
        "HyperFL, torch's init": HyperFL(extractor, init="official", **hyper),
        AVERAGED: FederatedAveraging(extractor, **plain),
        HEADS: FederatedAveraging(extractor, share="extractor", **plain),
        ALONE: FederatedAveraging(extractor, share="nothing", **plain),
    }
    for unit in ("silo", "record"):
        claim = {"claim": ApproxDP(EPSILON, DELTA), "unit": unit}
        private: dict[str, Any] = {"rounds": size.private_rounds, "local_epochs": 1, **claim}
        found[f"HyperFL, {unit}"] = HyperFL(extractor, **{**hyper, **private})
        found[f"DP-FedAvg, {unit}"] = FederatedAveraging(extractor, **{**plain, **private})
        found[f"private heads, {unit}"] = FederatedAveraging(extractor, share="extractor", **{**plain, **private})
    return found


def trained(estimator: Any, train: list[Silo], test: list[Silo]) -> Trained:
    """Fit on the silos, and look at each silo's model."""
    from sfumato.federation.hypernetwork import accuracy

    began = time.process_time()
    estimator.fit(train, runtime=InProcess(Terms(limit=_LIMIT)))
    seconds = (time.process_time() - began) / estimator.rounds
    each = np.array([accuracy(model, *data) for model, data in zip(estimator.models_, test, strict=True)])
    averaged = _averaged(estimator)
    common = None if averaged is None else np.array([accuracy(averaged, *data) for data in test])
    return Trained(each, common, estimator.bytes_up_ / estimator.rounds, seconds, estimator)


def _averaged(estimator: Any) -> Any:
    from sfumato.federation.hypernetwork.models import checked_extractor, personal_model

    if getattr(estimator, "share", "") != "all":
        return None
    parts: dict[str, dict[str, Any]] = {"theta": {}, "head": {}}
    for name, value in estimator.shared_.items():
        part, _, own = name.partition("/")
        parts[part][own] = value
    return personal_model(checked_extractor(estimator.extractor), parts["theta"], parts["head"])


def protection_rows(scale: Scale, seed: int) -> tuple[list[Row], dict[str, list[Trained]]]:
    """Return the rows on accuracy, bytes and seconds, and the runs behind them, one a seed."""
    size = _SCALES[scale]
    runs: dict[str, list[Trained]] = {}
    for each in range(seed, seed + size.seeds):
        train, test = silos(scale, each)
        for name, estimator in methods(scale, each).items():
            runs.setdefault(name, []).append(trained(estimator, train, test))
    setting = (
        f"{size.silos} silos of {size.rows} images ({size.data}, a fifth from all classes, the rest from three), "
        f"{size.rounds} rounds, hidden_dim {size.hidden}"
    )
    return [*_accuracy_rows(runs, setting, scale), *_private_rows(runs, size, scale), *_cost_rows(runs, scale)], runs


def _accuracy_rows(runs: Mapping[str, list[Trained]], setting: str, scale: Scale) -> Iterator[Row]:
    best = {name: float(np.mean([run.accuracy for run in each])) for name, each in runs.items()}
    yield Row(
        f"accuracy of the personal models, {setting}",
        "EMNIST, 20 silos: HyperFL .763, FedAvg .728, alone .734",
        ", ".join(f"{name} {best[name]:.3f}" for name in (OURS, AVERAGED, HEADS, ALONE)),
        None if scale == "smoke" else best[OURS] >= max(best[AVERAGED], best[ALONE]),
    )
    for other in (AVERAGED, HEADS, ALONE):
        gap = np.concatenate([a.accuracies - b.accuracies for a, b in zip(runs[OURS], runs[other], strict=True)])
        error = float(np.std(gap, ddof=1) / np.sqrt(len(gap)))
        yield Row(
            f"the same: HyperFL less {other}, mean over silos ± one s.e.",
            {AVERAGED: "+.035", ALONE: "+.029"}.get(other, "not found"),
            f"{np.mean(gap):+.3f} ± {error:.3f}",
        )
    common = np.mean([run.common for run in runs[AVERAGED]])
    yield Row(
        "the same: FedAvg's shared model itself, after the last averaging, no silo's own training after it",
        "not found which of the two the paper's FedAvg is",
        f"{common:.3f}",
    )
    official = best["HyperFL, torch's init"]
    yield Row(
        "the same, hypernetwork initialised as ours; as torch does, as in the official code",
        "not found",
        f"{best[OURS]:.3f}; {official:.3f}",
    )


def _private_rows(runs: Mapping[str, list[Trained]], size: _Size, scale: Scale) -> Iterator[Row]:
    without = {"HyperFL": OURS, "DP-FedAvg": AVERAGED, "private heads": HEADS}
    for unit in ("silo", "record"):
        found = {name: [run.accuracy for run in runs[f"{name}, {unit}"]] for name in PRIVATE}
        plain = {name: [run.accuracy for run in runs[other]] for name, other in without.items()}
        common = np.mean([run.common for run in runs[f"DP-FedAvg, {unit}"]])
        yield Row(
            f"the same with a claim: ε = {EPSILON:g}, δ = {DELTA:g}, a {unit} replaced by another, over "
            f"{size.private_rounds} rounds of one epoch",
            "EMNIST, ε = 4 a record: DP-FedAvg .351, CENTAUR .688, PPSGD .712 (each less than HyperFL's .763)",
            ", ".join(f"{name} {np.mean(each):.3f}" for name, each in found.items())
            + f"; DP-FedAvg's shared model {common:.3f}",
            None if scale == "smoke" else all(np.mean(found[name]) < np.mean(plain[name]) for name in PRIVATE),
        )


def _cost_rows(runs: Mapping[str, list[Trained]], scale: Scale) -> Iterator[Row]:
    up = {name: each[0].bytes_up for name, each in runs.items()}
    model = runs[OURS][0].model
    ratio = up[OURS] / up[HEADS]
    yield Row(
        f"bytes up a round, all silos, hidden_dim {model.hidden_dim}: HyperFL, FedAvg, private heads",
        "not told; hidden_dim + 1 times the extractor's by the architecture",
        f"{up[OURS]:,.0f}, {up[AVERAGED]:,.0f}, {up[HEADS]:,.0f}: {ratio:.1f} times the extractor's",
        model.hidden_dim < ratio < model.hidden_dim + 2,
    )
    seconds = {name: min(run.seconds for run in each) for name, each in runs.items()}
    of_fedavg = {name: seconds[name] / seconds[AVERAGED] for name in (OURS, HEADS)}
    yield Row(
        "CPU-seconds a round of all silos: FedAvg, and times FedAvg's",
        "EMNIST: FedAvg 23, HyperFL 37 (1.6 times)",
        f"{seconds[AVERAGED]:.2f}; " + ", ".join(f"{name} {value:.1f}" for name, value in of_fedavg.items()),
        None if scale == "smoke" else of_fedavg[OURS] <= 3,
    )
    epochs = runs[AVERAGED][0].model.local_epochs  # of a round; under a claim it has one
    an_epoch = {name: seconds[f"{name}, record"] * epochs / seconds[AVERAGED] for name in PRIVATE}
    yield Row(
        "CPU-seconds a local epoch with a claim for each record, times FedAvg's",
        "EMNIST: DP-FedAvg 8.4, CENTAUR 9.1; at most 3 (our target)",
        ", ".join(f"{name} {value:.1f}" for name, value in an_epoch.items()),
        None if scale == "smoke" else an_epoch["DP-FedAvg"] <= 3,
    )


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run hyperfl`."""
    start = time.perf_counter()
    rows, runs = protection_rows(scale, seed)
    return StudyResult(rows, scale, time.perf_counter() - start, {"accuracy": picture(runs)})


def picture(runs: Mapping[str, list[Trained]]) -> Any:
    """Draw each method's accuracy, one dot a silo."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    names = list(runs)[::-1]
    for place, name in enumerate(names):
        each = np.concatenate([run.accuracies for run in runs[name]])
        axes.scatter(
            each, np.full(len(each), place), s=14, alpha=0.5, color="tab:blue" if "HyperFL" in name else "grey"
        )
        axes.scatter(each.mean(), place, marker="|", s=200, color="black")
    axes.set(xlabel="accuracy of a silo's model on its own test images; the bar is the mean", xlim=(0, 1))
    axes.set_yticks(range(len(names)), names)
    return figure


STUDY = Study(
    45,
    "hyperfl",
    "HyperFL: sharing a hypernetwork, and what it protects",
    """Silos share a hypernetwork that writes each silo's feature extractor from a private vector; the vector and the
classifier stay in the silo. The paper shows that inversion attacks fail against its uploads, and claims no differential
privacy. They do not fail against one who uses the architecture: study 45 of gradient inversion.

- Twenty silos as in the paper, of 150 MNIST images instead of 600 of EMNIST, 12 rounds instead of 200, hidden_dim 8
  instead of 128: uploads would be 129 times the extractor's. The paper's figures are from summaries of its tables.
- All methods see the same images and seeds, and are judged by the personal model after its last local training.
  Learning rates, 0.1 and for HyperFL 0.05, were chosen on images held out of the training images (not that of silos
  alone, nor those under a claim, which are the same); the images tested on were set apart before, and
  looked at in two runs of this table only, though those of an earlier version may be among them. The page lists what
  was tried.
- HyperFL can at best share an extractor as private heads do, and these are behind FedAvg here at each rate that was
  tried: silos agree on what a 4 looks like, and a shared classifier learns the classes that a silo has few images of.
- Its own losses come on top. A step moves the hidden vector z so far that its units die in the first round; then the
  heads' biases do the learning. Where z is kept alive, vectors drawn by the silos themselves share less of each step
  than the official code's common one.
- The sound variants promise (8, 10⁻⁵) over all their rounds, neighbours replacing a unit by another, which takes twice
  the noise of adding or removing it. The paper's private baselines promise ε = 4 by Opacus, of adding or removing, and
  train the classifier without noise, against which the promise does not hold (the tests have that twin); ours do not.
- Under unit "silo" the classifier is trained without noise and stays in the silo, so that accuracy may be that of a
  linear classifier on features which noise has made random. With a claim there are fewer rounds, of one epoch, so the
  rows do not separate noise from rounds; at this scale nothing useful comes of a claim for a silo.""",
    run,
)
