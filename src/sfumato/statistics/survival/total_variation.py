"""Exact one-dimensional total-variation denoising.

For the "tv" smoother. The taut string: Davies and Kovac 2001; here by its dual, a bounded least-squares problem.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

Floats = NDArray[np.float64]


def denoise(values: Floats, weight: float) -> Floats:
    """Minimise ½‖x − values‖² + weight · Σ|x_{i+1} − x_i|.

    The dual is min ½‖values − Dᵀu‖² over |u| ≤ weight, and x = values − Dᵀu.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
    weight : float
        At least 0.

    Returns
    -------
    ndarray of float, shape (n,)
    """
    n = len(values)
    if n < 2 or weight == 0:
        return values.copy()
    differences = np.diff(np.eye(n), axis=0)
    dual = lsq_linear(differences.T, values, bounds=(-weight, weight), method="bvls", tol=1e-12).x
    return np.asarray(values - differences.T @ dual, dtype=np.float64)
