"""One model trained on a subset and scored on all records: a scikit-learn classifier, or a training function.

For the estimators of memorisation. A training function keeps its data to itself, so that any framework will do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from sfumato.errors import InvalidData

Predict: TypeAlias = Callable[[Any], Any]
TrainFunction: TypeAlias = Callable[[npt.NDArray[np.int64], int], Predict]
Score: TypeAlias = Literal["correct", "proba"]


@dataclass(frozen=True)
class Records:
    """Records with labels; `x` is an array or a data frame, indexed by record first."""

    x: Any
    y: npt.NDArray[Any]

    @classmethod
    def checked(cls, x: Any, y: Any, name: str = "y") -> Records:
        """Check lengths and that labels are classes.

        Raises
        ------
        InvalidData
            If labels are floating-point numbers or missing, or lengths differ.
        """
        x = x if hasattr(x, "shape") else np.asarray(x)
        labels = np.asarray(y)
        if labels.ndim != 1 or not len(labels):
            raise InvalidData(f"{name} must be a list of labels, one a record, got shape {labels.shape}")
        if labels.dtype.kind not in "biuUSO":
            raise InvalidData(f"{name} must hold classes (whole numbers or strings), got {labels.dtype}")
        if labels.dtype.kind == "O" and any(each is None or each != each for each in labels):
            raise InvalidData(f"{name} has missing labels")
        if x.shape[0] != len(labels):
            raise InvalidData(f"{name} has {len(labels)} labels for {x.shape[0]} records")
        return cls(x, labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Any:
        """Records of some indices, without labels."""
        return self.x.iloc[indices] if hasattr(self.x, "iloc") else self.x[indices]


def train(learner: Any, data: Records, indices: npt.NDArray[np.int64], seed: int) -> Any:
    """Train a clone of a classifier, or call a training function; return the model.

    Parameters
    ----------
    learner : classifier or callable
        A scikit-learn classifier, or ``train_fn(indices, seed) -> predict``.
    data : Records
    indices : ndarray of int
        The records to train on.
    seed : int
        Of the training; set as every ``random_state`` that a classifier has.
    """
    if not hasattr(learner, "fit"):
        return learner(indices, seed)
    model = clone(learner)
    seeds = {name: seed for name in model.get_params() if name.split("__")[-1] == "random_state"}
    return model.set_params(**seeds).fit(data.take(indices), data.y[indices])


def score(model: Any, data: Records, kind: Score, classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Score a model on each record: uint8 correctness, or float32 probability of the right class.

    Parameters
    ----------
    model : fitted classifier or callable
        A callable returns labels (n,), or probabilities (n, k) in the order of `classes`.
    data : Records
    kind : {"correct", "proba"}
    classes : ndarray, shape (k,)
        All classes, sorted.

    Raises
    ------
    InvalidData
        If a prediction has another shape, or probabilities are needed and there are none.
    """
    given, known = _prediction(model, data.x, kind, classes)
    if given.shape not in ((len(data.y),), (len(data.y), len(known))):
        raise InvalidData(f"a prediction must have shape ({len(data.y)},) or (…, {len(known)}), got {given.shape}")
    if kind == "correct":
        named = given if given.ndim == 1 else known[given.argmax(axis=1)]
        return np.asarray(named == data.y, dtype=np.uint8)
    if given.ndim == 1:
        raise InvalidData("score='proba' needs a model that returns probabilities, one column a class")
    column = np.minimum(np.searchsorted(known, data.y), len(known) - 1)
    chosen = given[np.arange(len(data.y)), column]
    return np.where(known[column] == data.y, chosen, 0.0).astype(np.float32)  # 0 for a class that the subset lacked


def _prediction(
    model: Any, x: Any, kind: Score, classes: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not hasattr(model, "predict"):
        return np.asarray(model(x)), classes
    if kind == "correct":
        return np.asarray(model.predict(x)), classes
    if not hasattr(model, "predict_proba"):
        raise InvalidData(f"score='proba' needs predict_proba, which {type(model).__name__} lacks")
    return np.asarray(model.predict_proba(x)), model.classes_
