"""The logistic loss of bags, between bag loss and instance loss, and its minimum.

For `AggregateClassifier`. Javanmard et al. (ICLR 2024, arXiv 2401.11081) with the logistic loss in place of the squared
one; softmax where the classes are more than two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from sfumato.statistics.aggregates.bags import Bags, Floats

_TINY = 1e-300


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of each feature, for the optimiser's sake; without an intercept nothing may be shifted."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, X: Floats, *, fit_intercept: bool) -> Scaling:
        """Read them off the features."""
        deviation = X.std(axis=0)
        centre = X.mean(axis=0) if fit_intercept else np.zeros(X.shape[1])
        return cls(centre, np.where(deviation > 0, deviation, 1.0))

    def undo(self, found: Floats) -> tuple[Floats, Floats]:
        """Coefficients and intercepts of the features as they were."""
        coef = found[:, 1:] / self.scale
        return coef, np.asarray(found[:, 0] - coef @ self.centre)


@dataclass(frozen=True)
class Fitting:
    """What is fitted besides the data: the penalty, the intercept, and when to stop."""

    ridge: float
    fit_intercept: bool
    max_iter: int
    tol: float


class Problem:
    """The penalised loss as a function of logits' parameters, shape (K, 1 + d): intercept, then coefficients.

    Two classes have one row of logits, that of the second class; the first's is 0. More have a row each.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
    bags : Bags
    targets : ndarray of float, shape (m, C)
        Of each bag, with sum 1: its proportions, or for bags of one corrected labels, which may be negative.
    rho : float
    fitting : Fitting
    scaling : Scaling
    """

    def __init__(
        self, X: Floats, bags: Bags, targets: Floats, rho: float, fitting: Fitting, scaling: Scaling | None = None
    ) -> None:
        self.scaling = scaling or Scaling.of(X, fit_intercept=fitting.fit_intercept)
        self.Z = (X - self.scaling.centre) / self.scaling.scale
        self.bags, self.targets, self.rho, self.fitting = bags, np.ascontiguousarray(targets.T), rho, fitting
        self.rows = 1 if len(self.targets) == 2 else len(self.targets)

    def solve(self, start: Floats | None) -> tuple[Floats, int, bool]:
        """Minimise by L-BFGS: parameters, iterations, and whether it arrived."""
        shape = (self.rows, 1 + self.Z.shape[1])
        found = optimize.minimize(
            lambda flat: self._objective(flat.reshape(shape)),
            np.zeros(shape[0] * shape[1]) if start is None else start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.fitting.max_iter, "gtol": self.fitting.tol, "ftol": 0.0, "maxcor": 20},
        )
        # a line search that finds nothing better has arrived as well
        return found.x.reshape(shape), max(1, int(found.nit)), int(found.status) != 1

    def _objective(self, parameters: Floats) -> tuple[float, Floats]:
        loss, gradient = self.loss(parameters)
        coef = parameters[:, 1:] / self.scaling.scale
        strength = self.fitting.ridge / self.bags.n
        gradient[:, 1:] += strength * coef / self.scaling.scale
        return loss + strength / 2 * float((coef**2).sum()), gradient.ravel()

    def loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Mean loss over people without the penalty, and its gradient."""
        logits = parameters[:, 1:] @ self.Z.T + parameters[:, :1]
        log_p = log_probabilities(logits)
        p = np.exp(log_p)
        total, slope = 0.0, np.zeros_like(p)
        if self.rho > 0:
            own = self.targets[:, self.bags.of]
            total -= self.rho * float(np.sum(own * log_p))
            slope += self.rho * (p - own)
        if self.rho < 1:
            shares = np.maximum(np.stack([self.bags.means(each) for each in p]), _TINY)
            total -= (1 - self.rho) * float(((self.targets * np.log(shares)) @ self.bags.sizes).sum())
            pull = (self.targets / shares)[:, self.bags.of]
            slope -= (1 - self.rho) * p * (pull - (p * pull).sum(axis=0))
        slope = slope[-self.rows :]
        level = slope.sum(axis=1, keepdims=True) * self.fitting.fit_intercept
        return total / self.bags.n, np.hstack((level, slope @ self.Z)) / self.bags.n


def log_probabilities(logits: Floats) -> Floats:
    """Log-softmax over classes, shape (C, n); one row of logits is that of the second of two classes."""
    if len(logits) == 1:
        return np.vstack((-np.logaddexp(0, logits), -np.logaddexp(0, -logits)))
    return np.asarray(special.log_softmax(logits, axis=0))
