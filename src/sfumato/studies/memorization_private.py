"""Memorisation as evidence on ε: label randomised response, its broken twin, and DP-SGD beside training without.

For the study of system 23.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.studies.error_feedback_digits import Method, train_classifier
from sfumato.studies.memorization_records import flipped_records
from sfumato.studies.study import Row, Scale
from sfumato.training.memorization import MemorizationEstimator

_RESPONSES = {"smoke": 1000, "small": 4000, "full": 20_000}
_TRAININGS = {"smoke": 0, "small": 200, "full": 2000}
_DELTA = 1e-4


def label_randomised_response(epsilon: float, *, flip_share: float = 1.0, records: int = 40, outliers: int = 4) -> Any:
    """A learner whose ε is known: each of two labels is flipped with probability 1/(1 + e^ε), then 1-NN learns.

    What it says of a record is the noisy label of one record, so every event about one label has probabilities within
    a factor of e^ε with and without any record.

    Parameters
    ----------
    epsilon : float
    flip_share : float
        Below 1 for a twin that flips too rarely.
    records, outliers : int
        Two clusters of numbers, and some records in the midst of the other one, whose labels only memory can know.

    Returns
    -------
    (train_fn, x, y)
        For `MemorizationEstimator`.
    """
    if epsilon <= 0 or not 0 < flip_share <= 1:
        raise InvalidData("epsilon must be above 0 and flip_share in (0, 1]")
    y = np.repeat([0, 1], records // 2)
    x = np.random.default_rng(0).normal(scale=0.1, size=len(y)) + 5 * y
    y[:outliers] = 1
    order = np.argsort(np.abs(x[:, np.newaxis] - x), axis=1)
    flip = flip_share / (1 + math.exp(epsilon))

    def train(indices: Any, seed: int) -> Callable[[Any], Any]:
        noisy = np.where(np.random.default_rng(seed).random(len(y)) < flip, 1 - y, y)
        present = np.zeros(len(y), dtype=np.bool_)
        present[indices] = True
        nearest = order[np.arange(len(y)), present[order].argmax(axis=1)]
        return lambda _: noisy[nearest]

    return train, x, y


def private_rows(scale: Scale, seed: int, *, with_torch: bool) -> Iterator[Row]:
    """Bounds beside the ε that holds."""
    t = _RESPONSES[scale]
    for epsilon in (1.0, 2.0):
        for flip_share in (1.0, 0.5):
            train, x, y = label_randomised_response(epsilon, flip_share=flip_share)
            estimator = MemorizationEstimator(train, n_models=t, random_state=seed, progress=False).fit(x, y)
            claim = Claim(PureDP(epsilon), unit="record", neighbours="replace-one")
            held_out, shared = (
                estimator.epsilon_lower_bound(claim=claim, correction=each) for each in ("held-out", "bonferroni")
            )
            yield _response_row(epsilon, flip_share, held_out, shared, scale)
    if with_torch and _TRAININGS[scale]:
        yield from _training_rows(scale, seed)


def _response_row(epsilon: float, flip_share: float, held_out: Evidence, shared: Evidence, scale: Scale) -> Row:
    values = held_out.value, shared.value
    if flip_share == 1:
        holds = max(values) <= epsilon and (scale == "smoke" or min(values) >= 0.7 * epsilon)
        expected = "at most ε, at least .7 ε with 4000 models (our target)"
    else:
        holds = scale == "smoke" or held_out.verdict == "falsified"
        expected = "caught (our target)"
    return Row(
        f"label randomised response of ε = {epsilon:g}{', half the flips' if flip_share < 1 else ''}, 1-NN: lower "
        "bound of ε, 95 %, chosen on half of the models; on all with Bonferroni",
        expected,
        f"{values[0]:.2f} ({held_out.verdict}); {values[1]:.2f} ({shared.verdict})",
        holds,
    )


def _training_rows(scale: Scale, seed: int) -> Iterator[Row]:
    x, y, x_test, y_test, wrong = flipped_records("digits", 400, seed)
    settings: list[tuple[Method, float, int, float]] = [
        ("non-private", 1.0, 100, 0.5),
        ("DP-SGD", 8.0, 10, 1.0),
        ("DP-SGD", 1.0, 10, 1.0),
    ]
    for method, epsilon, epochs, rate in settings:
        train = _trainer(x, y, method, epsilon, epochs, rate)
        estimator = MemorizationEstimator(train, n_models=_TRAININGS[scale], random_state=seed, progress=False)
        estimator.fit(x, y, x_test, y_test)
        claim = Claim(ApproxDP(epsilon, _DELTA), unit="record")
        found = estimator.epsilon_lower_bound(_DELTA, claim=claim)
        honest = method != "non-private"
        yield Row(
            f"digits, network by {method}, ε = {epsilon:g} claimed, 400 records, 5 % of labels wrong, "
            f"{_TRAININGS[scale]} models: mean memorisation of wrong and of clean, test accuracy, lower bound of ε",
            "at most the ε of replacing one" if honest else "caught (our target)",
            f"{np.nanmean(estimator.memorization_[wrong]):.3f}, {np.nanmean(estimator.memorization_[~wrong]):.3f}, "
            f"{estimator.test_score_:.3f}, {found.value:.2f} ({found.verdict})",
            None if found.verdict == "inconclusive" else (found.verdict == "falsified") != honest,
        )


def _trainer(x: Any, y: Any, method: Method, epsilon: float, epochs: int, rate: float) -> Any:
    def train(indices: Any, seed: int) -> Any:
        model = train_classifier(
            x[indices],
            y[indices],
            method=method,
            epsilon=epsilon,
            delta=_DELTA,
            epochs=epochs,
            batch_size=50,
            rate=rate,
            random_state=seed,
        )
        return model.predict_proba

    return train
