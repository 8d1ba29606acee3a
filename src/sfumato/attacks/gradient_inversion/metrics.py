"""How like two images are: PSNR, SSIM, and which reconstruction belongs to which truth.

For reading an attack's result. Images are in [0, 1]: undo a standardisation first. SSIM is scikit-image's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from sfumato.errors import InvalidData

Floats = NDArray[np.float64]


def psnr(truth: ArrayLike, found: ArrayLike) -> Floats:
    """Peak signal-to-noise ratio of each image in dB, shape (n,); inf where two are equal.

    10·log10(1 / mean squared error), since images lie in [0, 1].

    Parameters
    ----------
    truth, found : array_like of float, shape (n, channels, height, width)
    """
    a, b = _pair(truth, found)
    error = np.square(a - b).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(error))


def ssim(truth: ArrayLike, found: ArrayLike) -> Floats:
    """Structural similarity of each image, shape (n,); its window is 7 pixels, less for smaller images.

    Parameters
    ----------
    truth, found : array_like of float, shape (n, channels, height, width)
        At least three pixels high and wide.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(truth, found)
    window = min(7, *a.shape[2:])
    window -= 1 - window % 2
    if window < 3:
        raise InvalidData(f"SSIM needs images of at least 3 x 3 pixels, got shape {a.shape}")
    similarity: Any = structural_similarity
    each = [similarity(x, y, data_range=1.0, channel_axis=0, win_size=window) for x, y in zip(a, b, strict=True)]
    return np.asarray(each, np.float64)


def matched(truth: ArrayLike, found: ArrayLike) -> NDArray[np.int64]:
    """Order of the reconstructions that has the least squared error in all, shape (n,): an attack knows no order.

    Parameters
    ----------
    truth, found : array_like of float, shape (n, channels, height, width)

    Returns
    -------
    ndarray of int64
        ``found[order[i]]`` belongs to ``truth[i]``.
    """
    a, b = _pair(truth, found)
    errors = np.square(a[:, np.newaxis] - b[np.newaxis]).mean(axis=(2, 3, 4))
    return np.asarray(linear_sum_assignment(errors)[1], np.int64)


def _pair(truth: ArrayLike, found: ArrayLike) -> tuple[Floats, Floats]:
    a, b = images("truth", truth), images("found", found)
    if a.shape != b.shape:
        raise InvalidData(f"truth and found must have one shape, got {a.shape} and {b.shape}")
    return a, b


def images(name: str, given: ArrayLike) -> Floats:
    """Check images of shape (n, channels, height, width), in [0, 1].

    Raises
    ------
    InvalidData
    """
    array = np.asarray(given, np.float64)
    if array.ndim != 4 or not array.size:
        raise InvalidData(f"{name} must have shape (n, channels, height, width), got {array.shape}")
    if not (np.isfinite(array).all() and array.min() >= -1e-6 and array.max() <= 1 + 1e-6):
        raise InvalidData(f"{name} must lie in [0, 1]: undo a standardisation first")
    return array
