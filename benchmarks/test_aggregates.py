"""The fit to bag means beside scikit-learn's least squares on the same means, repeated for each person.

For whoever has millions of people in bags. The peer is the instance loss (ρ = 1) by `LinearRegression`, which computes
the same coefficients; both in one run.
"""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from sfumato.statistics.aggregates import AggregateRegressor, aggregate, make_bags

PEOPLE, FEATURES, BAG = 1_000_000, 100, 10


@pytest.fixture(scope="module")
def told():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(PEOPLE, FEATURES))
    y = X @ rng.normal(size=FEATURES) + rng.normal(size=PEOPLE)
    bag_id = make_bags(PEOPLE, BAG, random_state=0)
    return X, aggregate(y, bag_id), bag_id


@pytest.mark.benchmark(group="a million people, 100 features")
def test_fit_to_bag_means(benchmark, told):
    X, responses, bag_id = told
    fit = benchmark.pedantic(lambda: AggregateRegressor(rho=1.0).fit(X, responses, bag_id=bag_id), rounds=3)
    assert fit.rank_ == FEATURES


@pytest.mark.benchmark(group="a million people, 100 features")
def test_least_squares_on_repeated_means(benchmark, told):
    X, responses, bag_id = told
    peer = benchmark.pedantic(lambda: LinearRegression().fit(X, responses.means[bag_id]), rounds=3)
    ours = AggregateRegressor(rho=1.0).fit(X, responses, bag_id=bag_id)
    assert ours.coef_ == pytest.approx(peer.coef_, abs=1e-8)


@pytest.mark.benchmark(group="a million noisy bag means")
def test_noisy_means(benchmark):
    y, bag_id = np.random.default_rng(0).random(PEOPLE), np.arange(PEOPLE)
    told = benchmark.pedantic(aggregate, (y, bag_id), {"epsilon": 1.0, "bounds": (0, 1)}, rounds=3)
    assert len(told) == PEOPLE
