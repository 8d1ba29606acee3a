"""Digits: their shape, their range, as many of each class."""

import numpy as np

from sfumato.data.images import mnist5k


def test_digits_come_whole():
    images, labels = mnist5k()
    assert images.shape == (5000, 784)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert (np.bincount(labels) == 500).all()
