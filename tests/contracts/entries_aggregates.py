"""Contracts of `sfumato.statistics.aggregates`."""

import numpy as np
from contract import Contract
from coupling import captured

from sfumato.statistics.aggregates import (
    AggregateProportions,
    AggregateResponses,
    NoisySufficientStatistics,
    PrivateAggregateRegressor,
    RandomizedLabels,
    aggregate,
    aggregate_labels,
    make_bags,
    randomize_labels,
)


def responses(rng, n, low, high):
    """At the bounds, beyond them and between."""
    spread = high - low
    return rng.choice([low, high, low - spread, high + spread, rng.uniform(low, high)], n)


def one_replaced(rng, n, low, high):
    y = responses(rng, n, low, high)
    other = y.copy()
    other[rng.integers(n)] = responses(rng, 1, low, high)[0]
    return y, other


def means(name, low, high, **budget):
    """`aggregate`: two bags of three; the claim is about one of the six people, the far pair changes a whole bag."""
    bounds = (low, high)

    def neighbours(rng):
        n = int(rng.integers(2, 30))
        bag_id = make_bags(n, int(rng.integers(1, n + 1)), remainder="larger", random_state=rng)
        return tuple((y, bag_id) for y in one_replaced(rng, n, low, high))

    def outputs(y, n, rng):
        bag_id = np.repeat(np.arange(2 * n), 3)
        return aggregate(np.tile(y, n), bag_id, bounds=bounds, **budget).means.reshape(n, 2)

    nobody = np.full(6, float(low))
    one, bag = nobody.copy(), nobody.copy()
    one[0], bag[:3] = high, high
    return Contract(
        AggregateResponses,
        name,
        aggregate([low, high], [0, 1], bounds=bounds, **budget).claim,
        lambda data: aggregate(*data, bounds=bounds, **budget),
        neighbours,
        outputs,
        [(one, nobody)],
        [(bag, nobody)],
    )


def regression(name, **budget):
    """Bags of three in coupled runs; bags of one, so that many releases are one fit, where they are counted."""
    parameters = {"bounds": (-1.0, 2.0), "prior_t": 1.0, "prior_s2": 1.0, "random_state": 0, **budget}
    estimator = PrivateAggregateRegressor(bag_size=3, rho=1.0, **parameters)
    apart = PrivateAggregateRegressor(bag_size=1, rho=0.0, **parameters)

    def neighbours(rng):
        n = int(rng.integers(3, 25))
        X = rng.normal(size=(n, 2))
        return tuple((X, y) for y in one_replaced(rng, n, -1.0, 2.0))

    def outputs(y, n, rng):
        fit = apart.fit(np.arange(2.0 * n)[:, np.newaxis], np.tile(y, n))
        return fit.responses_.means[fit.bag_id_].reshape(n, 2)

    nobody, one, both = np.array([-1.0, -1.0]), np.array([2.0, -1.0]), np.array([2.0, 2.0])
    return Contract(
        PrivateAggregateRegressor,
        name,
        apart.fit([[0.0], [1.0]], nobody).claim_,
        lambda data: estimator.fit(*data),
        neighbours,
        outputs,
        [(one, nobody)],
        [(both, nobody)],
    )


def draws(n, fit):
    """What n fits let out."""
    drawn = []
    with captured(drawn):
        for _ in range(n):
            fit()
    return np.array(drawn)


def sufficient(name, **budget):
    """Three people on either side: each weighs as much as the heaviest, and the far pair changes three alike."""
    estimator = NoisySufficientStatistics(bounds=(0.0, 1.0), **budget)
    X = np.repeat([[-1.0], [1.0]], 3, axis=0)

    def neighbours(rng):
        n = int(rng.integers(4, 25))
        # nearly equal rows: otherwise nobody whose response changes is near the heaviest
        signs = rng.choice([-1.0, 1.0], (n, 2)) * rng.uniform(0.9, 1.1, (n, 2))
        return tuple((np.vstack((signs, np.eye(2))), np.append(y, [0, 0])) for y in one_replaced(rng, n, 0.0, 1.0))

    nobody = np.zeros(6)
    one, three = nobody.copy(), nobody.copy()
    one[5], three[3:] = 1.0, 1.0
    return Contract(
        NoisySufficientStatistics,
        name,
        estimator.fit(X, nobody).claim_,
        lambda data: estimator.fit(*data),
        neighbours,
        lambda y, n, rng: draws(n, lambda: estimator.fit(X, y)),
        [(one, nobody)],
        [(three, nobody)],
        trials=600,
        bug=8,
    )


def relabelled(rng, n, count):
    """One person has another of `count` labels."""
    y = rng.integers(count, size=n)
    other, who = y.copy(), rng.integers(n)
    other[who] = (y[who] + rng.integers(1, count)) % count
    return y, other


def proportions(name, **budget):
    """`aggregate_labels` of three classes: two bags of three, one label changed; the far pair changes a whole bag."""
    classes = range(3)

    def neighbours(rng):
        n = int(rng.integers(2, 30))
        bag_id = make_bags(n, int(rng.integers(1, n + 1)), remainder="larger", random_state=rng)
        return tuple((y, bag_id) for y in relabelled(rng, n, 3))

    def outputs(y, n, rng):
        bag_id = np.repeat(np.arange(2 * n), 3)
        return aggregate_labels(np.tile(y, n), bag_id, classes=classes, **budget).proportions.reshape(n, 6)

    nobody = np.zeros(6, int)
    one, bag = nobody.copy(), nobody.copy()
    one[0], bag[:3] = 1, 1
    return Contract(
        AggregateProportions,
        name,
        aggregate_labels([0, 1], [0, 1], classes=classes, **budget).claim,
        lambda data: aggregate_labels(*data, classes=classes, **budget),
        neighbours,
        outputs,
        [(one, nobody)],
        [(bag, nobody)],
    )


def randomized(name, count):
    """`randomize_labels`: each person tells their own; the far pair changes two people."""
    classes = range(count)

    def outputs(y, n, rng):
        return randomize_labels(np.tile(y, n), classes=classes, epsilon=1.0).reported.reshape(n, len(y))

    return Contract(
        RandomizedLabels,
        name,
        randomize_labels([0, 1], classes=classes, epsilon=1.0).claim,
        lambda y: randomize_labels(y, classes=classes, epsilon=1.0),
        lambda rng: relabelled(rng, 8, count),
        outputs,
        [(np.array([1, 0]), np.array([0, 0]))],
        [(np.array([1, 1]), np.array([0, 0]))],
    )


CONTRACTS = [
    proportions("pure", epsilon=1.0),
    proportions("zcdp", rho_zcdp=0.5),
    randomized("two-classes", 2),
    randomized("five-classes", 5),
    means("pure-lattice", 0, 1, epsilon=1.0, granules=1),
    means("pure-fine-grid", -2.0, 3.0, epsilon=0.7),
    means("zcdp", 0.0, 10.0, rho_zcdp=0.5),
    regression("pure", epsilon=1.0),
    regression("zcdp", rho_zcdp=0.5),
    sufficient("pure", epsilon=1.0),
    sufficient("zcdp", rho_zcdp=0.5),
]

WITHOUT_A_FORMAL_CLAIM = {
    "AggregateRegressor": "a fit to what `aggregate` let out: post-processing",
    "AggregateClassifier": "a fit to what `aggregate`, `aggregate_labels` or `randomize_labels` let out",
}
