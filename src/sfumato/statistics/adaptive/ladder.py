"""Ladder: a leaderboard that shows the best loss so far, and moves only for a real step.

For hosts of competitions. Blum and Hardt, "The Ladder: A Reliable Leaderboard for Machine Learning Competitions"
(ICML 2015), Algorithm 1. It bounds how much a leaderboard overfits; it is no privacy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim
from sfumato.privacy.interactive import Interactive
from sfumato.statistics.adaptive.queries import GRID, Query, Rows, on_grid


class Ladder(Interactive):
    """Shows the best loss so far, rounded to `eta`, and only where a submission betters it by more than `eta`.

    No noise, so nothing is hidden of a row: `claim_` is heuristic. What holds is that the loss shown cannot drift far
    from the population's best, since a leaderboard that seldom moves tells little: `half_width`.

    Parameters
    ----------
    holdout : array_like, data frame or tuple of them
    eta : float
        Step in (0, 1].
    max_submissions : int, default 10 000

    Examples
    --------
    >>> import numpy as np
    >>> board = Ladder(np.zeros(100), eta=0.1, max_submissions=3)
    >>> [board.submit(lambda rows, loss=loss: rows + loss) for loss in (0.5, 0.45, 0.2)]
    [0.5, 0.5, 0.2]
    """

    def __init__(self, holdout: Any, *, eta: float, max_submissions: int = 10_000) -> None:
        self._rows = Rows.of("holdout", holdout, least=2)
        if isinstance(eta, bool) or not 0 < eta <= 1:
            raise InvalidData("eta must be in (0, 1]")
        if isinstance(max_submissions, bool) or not isinstance(max_submissions, (int, np.integer)):
            raise InvalidData("max_submissions must be a whole number, at least 1")
        if max_submissions < 1:
            raise InvalidData("max_submissions must be a whole number, at least 1")
        self.eta = float(eta)
        self._best: float | None = None
        super().__init__(Claim(Heuristic("a leaderboard without noise"), unit="record"), int(max_submissions))

    def submit(self, loss: Query) -> float:
        """Return the best loss so far, this submission's among them.

        Parameters
        ----------
        loss : callable
            Rows to losses in [0, 1], shape (n,); clipped to it.
        """
        values = on_grid(loss, self._rows)
        if values.ndim != 1:
            raise InvalidData("submit one loss at a time")
        with self._turn(1):
            mean = float(values.mean()) / GRID
            if self._best is None or mean < self._best - self.eta:
                self._best = round(mean / self.eta) * self.eta
            return self._best

    def half_width(self, submissions: int, *, beta: float = 0.05) -> float:
        """How far the loss shown can be from the least population loss so far, with probability 1 - beta, at all times.

        The losses shown fall by at least eta each time they move, so they move at most k = ⌈1/eta⌉ + 1 times, each to
        one of k values: that fixes every submission, so of all submissions that could ever be made there are at most
        m (m k + 1)^k for m made. A union bound over them with Hoeffding's inequality, and eta for the step itself.
        """
        moves = math.ceil(1 / self.eta) + 1
        logs = math.log(submissions) + moves * math.log(submissions * moves + 1)
        return min(1.0, self.eta + math.sqrt((logs + math.log(2 / beta)) / (2 * len(self._rows))))
