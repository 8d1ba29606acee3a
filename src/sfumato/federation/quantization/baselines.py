"""Variances of local randomisers of one number in [-c, c] at a pure ε, for comparison with RQM's.

Closed forms: Laplace (Dwork, McSherry, Nissim and Smith 2006); Duchi, Jordan and Wainwright 2018; the piecewise
mechanism of Wang, Xiao, Yang, Zhao, Hui, Shin, Shin and Yu 2019 (ICDE). Nothing is drawn here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sfumato.federation.quantization.divergence import Floats


def laplace_variance(x: ArrayLike, clip: float, epsilon: float) -> Floats:
    """Variance of x plus Laplace noise of scale 2c/ε; the same for every x."""
    return np.full(np.shape(x), 2 * (2 * clip / epsilon) ** 2)


def duchi_variance(x: ArrayLike, clip: float, epsilon: float) -> Floats:
    """Variance of a report ±cB, B = (e^ε + 1) / (e^ε - 1), whose mean is x."""
    return np.asarray((clip / math.tanh(epsilon / 2)) ** 2 - np.asarray(x, dtype=np.float64) ** 2)


def piecewise_variance(x: ArrayLike, clip: float, epsilon: float) -> Floats:
    """Variance of the piecewise mechanism: x²/(e^(ε/2) - 1) + c²(e^(ε/2) + 3) / (3 (e^(ε/2) - 1)²)."""
    excess = math.expm1(epsilon / 2)
    return np.asarray(np.asarray(x, dtype=np.float64) ** 2 / excess + clip**2 * (excess + 4) / (3 * excess**2))
