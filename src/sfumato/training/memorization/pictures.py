"""Pictures of the most memorised images, each above the test image that hangs on it most.

For looking at what a model knows by heart: outliers, wrong labels, or rare kinds that it needs. After the figures of
Feldman and Zhang (NeurIPS 2020, arXiv 2008.03703).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sfumato.errors import InvalidData
from sfumato.training.memorization.cost import whole
from sfumato.training.memorization.estimator import MemorizationEstimator


def plot_most_memorized(
    estimator: MemorizationEstimator,
    images: npt.ArrayLike,
    test_images: npt.ArrayLike | None = None,
    *,
    count: int = 10,
    figure: Any = None,
) -> npt.NDArray[Any]:
    """Draw the most memorised training images with label and score.

    The picture shows training records: it is as private as they are.

    Parameters
    ----------
    estimator : MemorizationEstimator
        Fitted; on test records too if `test_images` are given.
    images : array, shape (n, height, width) or (n, height, width, channels)
    test_images : array, shape (m, height, width, …), optional
        Draws below each the test image it influences most, if any reaches the estimator's threshold.
    count : int
    figure : matplotlib Figure, optional

    Returns
    -------
    ndarray of Axes, shape (1 or 2, count)
    """
    from matplotlib.figure import Figure

    pictures = np.asarray(images)
    others = None if test_images is None else np.asarray(test_images)
    if pictures.ndim not in (3, 4) or len(pictures) != len(estimator.memorization_):
        raise InvalidData(f"images must be {len(estimator.memorization_)} pictures, got shape {pictures.shape}")
    if others is not None and (not hasattr(estimator, "influence_") or len(others) != estimator.influence_.shape[1]):
        raise InvalidData("test_images must be the test records that the estimator was fitted on")
    table = estimator.most_memorized(whole(count))
    rows = 1 if others is None else 2
    figure = Figure(figsize=(1.3 * len(table), 1.9 * rows), layout="constrained") if figure is None else figure
    axes: npt.NDArray[Any] = figure.subplots(rows, len(table), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, row in enumerate(table.itertuples()):
        record: Any = row.Index
        axes[0, column].imshow(pictures[record], cmap="gray_r")
        said = f"“{row.label}”: {row.memorization:.2f}\n[{row.lower:.2f}, {row.upper:.2f}]"
        axes[0, column].set_title(said, fontsize=8)
        if others is not None:
            influences: Any = estimator.influence_[[record]]
            strengths = (influences.toarray() if sparse.issparse(influences) else np.nan_to_num(influences))[0]
            best = int(strengths.argmax())
            if strengths[best] > 0:
                axes[1, column].imshow(others[best], cmap="gray_r")
                axes[1, column].set_title(f"influences\na test image: {strengths[best]:.2f}", fontsize=8)
    return axes
