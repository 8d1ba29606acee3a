"""Contracts of `sfumato.statistics.adaptive` and `sfumato.attacks.overfitting`.

The neighbours replace a row, so that a query's sum moves by one step at most; two rows more are what a halved
sensitivity would look like. Outputs are the answers to a fixed list of queries.
"""

import numpy as np
from contract import Contract

from sfumato import Claim, PureDP, Release
from sfumato.statistics.adaptive import (
    MWEM,
    AboveThreshold,
    AdaptiveOracle,
    NumericSparse,
    PrivateMultiplicativeWeights,
    Thresholdout,
)

ROWS = 12
RECORD = {"unit": "record", "neighbours": "replace-one"}


def replaced(draw):
    """Random rows, and the same with one of them drawn anew."""

    def neighbours(rng):
        n = int(rng.integers(4, 30))
        rows = draw(rng, n)
        other = rows.copy()
        other[int(rng.integers(n))] = draw(rng, 1)[0]
        return rows, other

    return neighbours


def coins(ones):
    return np.repeat([0.0, 1.0], [ROWS - ones, ones])


def uniform(rng, n):
    return np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), rng.random(n))


def repeated(n, once):
    return np.array([once() for _ in range(n)], dtype=np.float64)


def oracle(mechanism, **parameters):
    """Queries as the columns of a matrix: many independent copies of an answer at a fraction of the budget each."""

    def opened(data, k=3):
        rho = 0.5 if mechanism != "gaussian" else 0.5 * k / 3
        return AdaptiveOracle(data, max_queries=k, mechanism=mechanism, rho=rho, **parameters)

    def ask(data, k):
        with opened(data, k) as asked:
            return np.atleast_1d(asked.answer(lambda rows: np.tile(rows[:, np.newaxis], k)).value)

    def outputs(data, n, rng):
        if mechanism == "gaussian":
            return ask(data, 3 * n).reshape(n, 3)
        return repeated(n, lambda: ask(data, 3))

    return Contract(
        AdaptiveOracle,
        mechanism,
        opened(coins(6)).claim_,
        lambda data: ask(data, 3),
        replaced(uniform if not parameters else lambda rng, n: rng.integers(0, 2, n).astype(float)),
        outputs,
        [(coins(6), coins(7))] if mechanism != "split" else [(coins(6), coins(7)), (coins(8), coins(7))],
        [(coins(2), coins(10))],
        trials=20_000 if mechanism == "gaussian" else 500,
        bug=2 if mechanism == "gaussian" else 4,
    )


def sparse(kind):
    """Three counts of which one person moves each; the threshold lies among them."""
    claim = Claim(PureDP(2.0), **RECORD)

    def ask(data, queries=None):
        with Release(claim, purpose="contract") as release:
            settings = {"sensitivity": 1, "threshold": 4, "max_tops": 1}
            if kind is AboveThreshold:
                mechanism = AboveThreshold(release, 2.0, **settings)
                answers = mechanism.ask(data).astype(float)
                return np.pad(answers, (0, len(data) - len(answers)), constant_values=-1)
            mechanism = NumericSparse(release, 2.0, **settings)
            answers = np.full(len(data), -1e6)
            for i, value in enumerate(data):
                found = mechanism.ask(int(value))
                answers[i] = -1e5 if found is None else found
                if not mechanism.remaining_:
                    break
            return answers

    def neighbours(rng):
        values = rng.integers(-4, 9, 5)
        return values, values + rng.integers(-1, 2, 5)

    low, high = np.array([3, 3, 3, 4]), np.array([4, 4, 4, 3])
    return Contract(
        kind,
        "pure",
        claim,
        ask,
        neighbours,
        lambda data, n, rng: repeated(n, lambda: ask(data)),
        [(low, high), (low - 5, high - 5)],  # the second falls otherwise under the key that is used again
        [(low - 4, high + 4)],
        trials=500,
        bug=6,
    )


def thresholdout(bound):
    train = np.zeros(ROWS)

    def ask(data, k=2):
        holdout = Thresholdout(train, data, threshold=0.3, sigma=0.1, budget=1, bound=bound, check=False)
        return np.nan_to_num(holdout.query(lambda rows: np.tile(rows[:, np.newaxis], k)), nan=-1)

    return Contract(
        Thresholdout,
        bound,
        Thresholdout(train, coins(3), threshold=0.3, sigma=0.1, budget=1, bound=bound).claim_,
        ask,
        replaced(uniform),
        lambda data, n, rng: repeated(n, lambda: ask(data)),
        [(coins(9), coins(8))],
        [(coins(2), coins(12))],
        trials=500,
        bug=8,
    )


def weights(**budget):
    def opened(data):
        return PrivateMultiplicativeWeights(data, 2, alpha=0.5, max_updates=1, **budget)

    def ask(data):
        with opened(data) as private:
            return private.answer(lambda cells: cells)

    return Contract(
        PrivateMultiplicativeWeights,
        next(iter(budget)),
        opened(coins(6)).claim_,
        ask,
        replaced(lambda rng, n: rng.integers(0, 2, n)),
        lambda data, n, rng: repeated(n, lambda: ask(data)),
        [(coins(11), coins(12))],
        [(coins(2), coins(12))],
        trials=500,
        bug=8,
    )


def mwem():
    def ask(data):
        return MWEM(2.0, universe=2, rounds=1).fit(data, [lambda cells: cells, lambda cells: 1 - cells])

    def measured(data):
        fitted = ask(data)
        return fitted.chosen_[0], fitted.weights_[1]

    return Contract(
        MWEM,
        "pure",
        Claim(PureDP(2.0), **RECORD),
        ask,
        replaced(lambda rng, n: rng.integers(0, 2, n)),
        lambda data, n, rng: repeated(n, lambda: measured(data)),
        [(coins(6), coins(7))],
        [(coins(2), coins(10))],
        trials=500,
        bug=8,
    )


CONTRACTS = [
    oracle("gaussian"),
    oracle("split"),
    oracle("histogram", universe=2),
    sparse(AboveThreshold),
    sparse(NumericSparse),
    thresholdout("pure"),
    weights(epsilon=2.0),
    weights(rho=0.5),
    mwem(),
]

WITHOUT_A_FORMAL_CLAIM = {
    "Ladder": "a leaderboard without noise: it bounds overfitting and hides nothing",
    "OverfittingReport": "the result of an attack",
}
