"""The linear program of reconstruction: bits between 0 and 1 that explain the answers best.

For `ReconstructionAttack`. Dwork, McSherry and Talwar (2007) decode by L1; Annamalai, Gadotti and Rocher (USENIX
Security 2024) attack synthetic data with it, by a commercial solver; here SciPy's HiGHS does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, sparse

from sfumato.attacks.reconstruction.encoding import Floats

Loss = Literal["l1", "l2"]
Solver = Literal["highs-ipm", "highs-ds"]


@dataclass(frozen=True)
class Solution:
    """Scores of the users.

    Attributes
    ----------
    scores : ndarray of float, shape (n,)
        In [0, 1]; all ½ if the solver failed.
    objective : float
        Σ|At - b|, or ½ Σ(At - b)² with the L2 loss.
    solved : bool
    """

    scores: Floats
    objective: float
    solved: bool


def solve(
    members: sparse.csr_matrix,
    answers: Floats,
    *,
    loss: Loss = "l1",
    solver: Solver = "highs-ipm",
    time_limit: float | None = None,
) -> Solution:
    """Minimise the distance of At to b over 0 ≤ t ≤ 1.

    SciPy lets HiGHS cross over from the interior point to a vertex, so the L1 scores of both solvers are vertices and
    many are exactly 0 or 1.

    Parameters
    ----------
    members : scipy.sparse.csr_matrix, shape (q, n)
        A: who is in each query.
    answers : ndarray of float, shape (q,)
        b: how many of them have the secret, as far as the synthetic data tell.
    loss : {"l1", "l2"}
    solver : {"highs-ipm", "highs-ds"}
        For the L1 loss: interior point, or dual simplex.
    time_limit : float, optional
        Seconds, for the L1 loss.
    """
    n = members.shape[1]
    scores = _least_squares(members, answers) if loss == "l2" else _least_l1(members, answers, solver, time_limit)
    if scores is None:
        return Solution(np.full(n, 0.5), float("nan"), solved=False)
    scores = np.clip(scores, 0.0, 1.0)  # the solver's own tolerance lets it step 1e-9 outside
    residual = members @ scores - answers
    objective = np.abs(residual).sum() if loss == "l1" else (residual**2).sum() / 2
    return Solution(scores, float(objective), solved=True)


def _least_l1(members: sparse.csr_matrix, answers: Floats, solver: Solver, limit: float | None) -> Floats | None:
    """The linear program: A t - over + under = b, least over + under."""
    q, n = members.shape
    slack = sparse.identity(q, format="csr")
    upper = np.concatenate([np.ones(n), np.full(2 * q, np.inf)])
    found = optimize.linprog(
        np.concatenate([np.zeros(n), np.ones(2 * q)]),
        A_eq=sparse.hstack([members, -slack, slack], format="csc"),
        b_eq=answers,
        bounds=np.column_stack([np.zeros(n + 2 * q), upper]),
        method=solver,
        options={} if limit is None else {"time_limit": limit},
    )
    return np.asarray(found.x[:n], dtype=np.float64) if found.status == 0 else None


def _least_squares(members: sparse.csr_matrix, answers: Floats) -> Floats | None:
    found = optimize.lsq_linear(members, answers, bounds=(0, 1), lsmr_tol="auto")
    return np.asarray(found.x, dtype=np.float64) if found.success else None
