"""Fakes of the linear fit, which the tests of its loss and of its risk must both refuse."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

from sfumato.statistics.aggregates import AggregateRegressor


class IgnoresRho(AggregateRegressor):
    """A fake: whatever ρ is asked for, it fits at ½."""

    def _choose(self, bags, d):
        super()._choose(bags, d)
        self.rho_ = 0.5


class RepeatedMeans(RegressorMixin, BaseEstimator):
    """A fake: ordinary least squares on each person's bag mean, for every ρ."""

    def __init__(self, rho=0.0, *, fit_intercept=True):
        self.rho = rho
        self.fit_intercept = fit_intercept

    def fit(self, X, y, *, bag_id):
        inner = LinearRegression(fit_intercept=self.fit_intercept).fit(X, np.asarray(getattr(y, "means", y))[bag_id])
        self.coef_, self.intercept_ = inner.coef_, inner.intercept_
        return self


@pytest.fixture
def ignores_rho():
    return IgnoresRho


@pytest.fixture
def repeated_means():
    return RepeatedMeans
