"""Softmax regression in numpy: the model that `QuantizedTraining` trains, as one vector of weights.

For federations whose clients send gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from sfumato.errors import InvalidData
from sfumato.federation.quantization.divergence import Floats


@dataclass(frozen=True)
class SoftmaxRegression:
    """Linear scores of each class; mean cross-entropy.

    Parameters
    ----------
    features, classes : int
    """

    features: int
    classes: int

    def __post_init__(self) -> None:
        if self.features < 1 or self.classes < 2:
            raise InvalidData(f"expected features >= 1 and classes >= 2, got {self.features} and {self.classes}")

    @property
    def size(self) -> int:
        """Weights and intercepts together."""
        return (self.features + 1) * self.classes

    def gradient(self, weights: Floats, x: Floats, y: NDArray[np.int64]) -> Floats:
        """Gradient of the mean loss over rows x with labels y, shape (size,)."""
        residual = special.softmax(self._scores(weights, x), axis=1)
        residual[np.arange(len(y)), y] -= 1
        wide = np.column_stack((x, np.ones(len(x))))
        return np.asarray(wide.T @ residual / len(x)).ravel()

    def predict(self, weights: Floats, x: ArrayLike) -> NDArray[np.int64]:
        """Most likely class of each row."""
        return np.asarray(self._scores(weights, np.asarray(x, dtype=np.float64)).argmax(axis=1))

    def check(self, data: Any) -> tuple[Floats, NDArray[np.int64]]:
        """Return rows and labels, or raise InvalidData."""
        x, y = np.asarray(data[0], dtype=np.float64), np.asarray(data[1])
        if x.ndim != 2 or x.shape[1] != self.features or y.shape != (len(x),) or not len(x):
            raise InvalidData(f"a client's data are (x, y) of shapes (n, {self.features}) and (n,), n >= 1")
        if y.dtype.kind not in "iu" or np.any((y < 0) | (y >= self.classes)) or not np.all(np.isfinite(x)):
            raise InvalidData(f"x must be finite, and y integers in 0 .. {self.classes - 1}")
        return x, y.astype(np.int64)

    def _scores(self, weights: Floats, x: Floats) -> Floats:
        matrix = weights.reshape(self.features + 1, self.classes)
        return np.asarray(x @ matrix[:-1] + matrix[-1])
