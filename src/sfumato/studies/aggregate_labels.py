"""Rows on labels: several classes told by bag, each person's label by randomized response, and diffprivlib beside both.

For the study of card 41. Randomized response with the corrected loss of Natarajan et al. (NIPS 2013); diffprivlib
(Holohan et al. 2019) protects the features too, which label differential privacy does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sfumato.statistics.aggregates import (
    AggregateClassifier,
    aggregate,
    aggregate_labels,
    easyllp_labels,
    make_bags,
    randomize_labels,
)
from sfumato.studies.robust_peers import DIFFPRIVLIB
from sfumato.studies.study import Row

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: Features and responses to train on, and to test on.
Part = tuple[Floats, Any, Floats, Any]

_ROUGH = 1e-3  # a gradient at which accuracy no longer moves
#: Bounds of the features are the peer's to know; here they are read from the data, which flatters it.
_SCRIPT = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from diffprivlib.models import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
job = json.loads(sys.argv[1])
data = np.load(job["file"])
scores = []
for i in range(job["parts"]):
    X, y, X_test, y_test = (data[f"{i} {j}"] for j in range(4))
    every = np.vstack((X, X_test))
    if job["bounds"]:
        box = (every.min(axis=0), every.max(axis=0))
        model = LinearRegression(epsilon=job["epsilon"], bounds_X=box, bounds_y=tuple(job["bounds"]), random_state=i)
        scores.append(model.fit(X, y).score(X_test, y_test))
    else:
        norm = float(np.linalg.norm(every, axis=1).max())
        model = LogisticRegression(epsilon=job["epsilon"], data_norm=norm, max_iter=1000, random_state=i)
        scores.append(roc_auc_score(y_test, model.fit(X, y).decision_function(X_test)))
print(json.dumps(scores))
"""


def diffprivlib_scores(
    parts: Sequence[Part], epsilon: float, bounds: tuple[float, float] | None = None
) -> Floats | None:
    """R² of diffprivlib's LinearRegression with these bounds of the response, else areas of its LogisticRegression.

    One score a part; None where the environment variable `SFUMATO_DIFFPRIVLIB` names no interpreter that has it.
    """
    python = os.environ.get(DIFFPRIVLIB)
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parts.npz"
        np.savez(file, **{f"{i} {j}": each for i, part in enumerate(parts) for j, each in enumerate(part)})
        job = {"file": str(file), "parts": len(parts), "epsilon": epsilon, "bounds": bounds}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [python, "-c", _SCRIPT, json.dumps(job)], capture_output=True, text=True, check=True, env=environment
        )
    return np.array(json.loads(done.stdout))


def told(scores: Mapping[str, Any]) -> str:
    """Means over splits, name by name, with the median where one wild split would hide the rest."""
    said = []
    for name, each in scores.items():
        mean, median = float(np.mean(each)), float(np.median(each))
        wild = abs(mean - median) > max(0.2, abs(median))
        said.append(f"{name} {mean:.3f}" if not wild else f"{name} {mean:.3g} (median {median:.3g})")
    return ", ".join(said)


def binary_rows(name: str, parts: Sequence[Part], epsilons: Sequence[float]) -> Iterator[Row]:
    """Each person's binary label under ε: by randomized response, corrected and not; by curated noise; by the peer."""
    for epsilon in epsilons:
        scores: dict[str, list[float]] = {}
        for i, (X, y, X_test, y_test) in enumerate(parts):
            reports = randomize_labels(y, classes=[0, 1], epsilon=epsilon, noise_seed=i)
            bag_id = make_bags(len(y), 8, remainder="larger", random_state=i)
            budget: dict[str, Any] = {"epsilon": epsilon, "bounds": (0, 1), "granules": 1, "noise_seed": i}
            each = np.arange(len(y))
            ways: dict[str, tuple[Any, Any]] = {
                "randomized response, corrected loss": (reports, None),
                "the same, reports taken for labels": (aggregate(reports.reported, each), each),
                "noisy labels": (aggregate(y, each, **budget), each),
                "bags of 8": (aggregate(y, bag_id, **budget), bag_id),
            }
            for way, (responses, bags) in ways.items():
                fit = AggregateClassifier().fit(X, responses, bag_id=bags)
                scores.setdefault(way, []).append(float(roc_auc_score(y_test, fit.decision_function(X_test))))
        peer = diffprivlib_scores(parts, epsilon)
        if peer is not None:
            scores["diffprivlib (features too)"] = peer.tolist()
        yield Row(
            f"{name}, binary label, ε = {epsilon:g}: area under the ROC curve on test people, {len(parts)} splits",
            "not found; the baseline of our notes",
            told(scores) + ("" if peer is not None else "; diffprivlib not run"),
        )


def corrected_row(sizes: Sequence[int], seed: int) -> Row:
    """How far logistic coefficients lie from the truth, as people become more."""
    truth = np.array([1.0, -2.0, 0.5])
    found: dict[str, list[float]] = {"corrected loss": [], "reports taken for labels": []}
    for n in sizes:
        rng = np.random.default_rng([seed, n])
        X = rng.normal(size=(n, 3))
        y = (rng.random(n) < 1 / (1 + np.exp(-X @ truth))).astype(int)
        reports = randomize_labels(y, classes=[0, 1], epsilon=1.0, noise_seed=seed)
        for way, labels in (("corrected loss", reports), ("reports taken for labels", reports.reported)):
            coef = AggregateClassifier().fit(X, labels).coef_[0]
            found[way].append(float(np.linalg.norm(coef - truth)))
    return Row(
        "randomized response at ε = 1, n = " + ", ".join(f"{n:,}" for n in sizes) + ": distance of the coefficients "
        "from the truth (length 2.3)",
        "not found; with the corrected loss it goes to 0 (theorem)",
        "; ".join(f"{way} " + ", ".join(f"{each:.2f}" for each in errors) for way, errors in found.items()),
        found["corrected loss"][-1] < 0.3 < found["reports taken for labels"][-1],
    )


def digit_rows(sizes: Sequence[int], images: int, splits: int, seed: int) -> Iterator[Row]:
    """Ten classes: handwritten digits from the shares of each digit in bags, and from randomized labels."""
    parts = [_digits(seed + split, images) for split in range(splits)]
    for k in sizes:
        scores: dict[str, list[float]] = {}
        for split, (X, y, X_test, y_test) in enumerate(parts):
            bag_id = make_bags(len(y), k, remainder="larger", random_state=split)
            exact = aggregate_labels(y, bag_id, classes=range(10))
            noisy = aggregate_labels(y, bag_id, classes=range(10), epsilon=1.0, noise_seed=split)
            ways: dict[str, tuple[Any, Any]] = {
                "bag": (0.0, exact),
                "instance": (1.0, exact),
                "chosen ρ": ("auto", exact),
                "chosen ρ, ε = 1": ("auto", noisy),
            }
            for way, (rho, responses) in ways.items():
                fit = AggregateClassifier(rho, tol=_ROUGH).fit(X, responses, bag_id=bag_id)
                scores.setdefault(way, []).append(float(fit.score(X_test, y_test)))
            scores.setdefault("EasyLLP", []).append(_easyllp(X, exact.proportions, bag_id, X_test, y_test))
        mean = {way: float(np.mean(each)) for way, each in scores.items()}
        yield Row(
            f"digits, {images:,} images of ten classes, bags of {k}: accuracy on test images, {splits} splits",
            "not found; chosen ρ at most .02 below the better end (our target)",
            told(scores),
            mean["chosen ρ"] >= max(mean["bag"], mean["instance"]) - 0.02,
        )
    scores = {}
    for split, (X, y, X_test, y_test) in enumerate(parts):
        for epsilon in (1.0, 4.0):
            reports = randomize_labels(y, classes=range(10), epsilon=epsilon, noise_seed=split)
            fit = AggregateClassifier(ridge=10.0, tol=_ROUGH).fit(X, reports)
            scores.setdefault(f"ε = {epsilon:g}", []).append(float(fit.score(X_test, y_test)))
        own = LogisticRegression(max_iter=1000).fit(X, y)
        scores.setdefault("labels as they are", []).append(float(own.score(X_test, y_test)))
    yield Row(
        f"digits, each label by randomized response, corrected loss, ridge 10: accuracy, {splits} splits",
        "not found",
        told(scores),
    )


def _digits(seed: int, images: int) -> tuple[Floats, Integers, Floats, Integers]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 41]).permutation(len(y))[:images]
    train, test = np.split(order, [int(0.7 * len(order))])
    return X[train] / 16, y[train], X[test] / 16, y[test]


def _easyllp(X: Floats, proportions: Floats, bag_id: Integers, X_test: Floats, y_test: Integers) -> float:
    """Least squares on the unbiased labels, class by class."""
    labels = np.column_stack([easyllp_labels(column, bag_id) for column in proportions.T])
    solved = np.linalg.lstsq(np.column_stack((np.ones(len(X)), X)), labels, rcond=None)[0]
    guessed = (np.column_stack((np.ones(len(X_test)), X_test)) @ solved).argmax(axis=1)
    return float(np.mean(guessed == y_test))
