"""Multiplicative weights, interactive and offline: direction, number of updates, error, claims."""

import math

import numpy as np
import pytest

from sfumato import PureDP
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP
from sfumato.statistics.adaptive import MWEM, PrivateMultiplicativeWeights


def skewed(n=20_000, universe=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice(universe, n, p=rng.dirichlet(np.full(universe, 0.5)))


def random_queries(m, universe=16, seed=1):
    table = np.random.default_rng(seed).integers(0, 2, (m, universe))
    return [lambda cells, row=row: row[cells] for row in table]


def test_updates_go_towards_the_answer():
    sample = np.repeat([0, 1], [1000, 9000])
    private = PrivateMultiplicativeWeights(sample, 2, rho=5.0, alpha=0.2)
    assert abs(private.answer(lambda cells: cells) - 0.9) < 0.1
    assert private.weights_[1] > 0.5
    below = PrivateMultiplicativeWeights(1 - sample, 2, rho=5.0, alpha=0.2)
    below.answer(lambda cells: cells)
    assert below.weights_[1] < 0.5


def test_answers_are_within_alpha_and_never_more_than_c_updates():
    sample, alpha = skewed(), 0.1
    limit = math.ceil(4 * math.log(16) / alpha**2)
    private = PrivateMultiplicativeWeights(sample, 16, rho=10.0, alpha=alpha)
    assert private.remaining_ == limit
    errors = [abs(private.answer(query) - query(sample).mean()) for query in random_queries(300)]
    assert max(errors) < 1.25 * alpha
    assert 0 < limit - private.remaining_ < limit
    assert private.weights_.sum() == pytest.approx(1)


def test_it_ends_with_its_last_update():
    private = PrivateMultiplicativeWeights(np.ones(10_000, int), 2, rho=50.0, alpha=0.2, max_updates=1)
    private.answer(lambda cells: cells)
    assert private.remaining_ == 0
    with pytest.raises(BudgetExceeded):
        private.answer(lambda cells: cells * 0)


def test_the_claim_is_what_was_asked_for():
    assert PrivateMultiplicativeWeights(skewed(), 16, epsilon=0.7, alpha=0.3).claim_.bound == PureDP(0.7)
    assert PrivateMultiplicativeWeights(skewed(), 16, rho=0.3, alpha=0.3).claim_.bound == ZCDP(0.3)


def test_queries_see_the_universe_only():
    sample, seen = skewed(), []

    def spying(cells):
        seen.append(len(cells))
        return cells > 7

    PrivateMultiplicativeWeights(sample, 16, rho=1.0, alpha=0.5).answer(spying)
    assert max(seen) == 16
    private = PrivateMultiplicativeWeights(sample, 16, rho=1.0, alpha=0.5)
    for wrong in (lambda cells: cells, lambda cells: np.eye(16), lambda cells: cells * np.nan):
        with pytest.raises(InvalidData):
            private.answer(wrong)


def test_mwem_fits_a_list_of_queries():
    sample, queries = skewed(), random_queries(60)
    mwem = MWEM(5.0, universe=16, rounds=15).fit(sample, queries)
    fitted = max(abs(mwem.predict(query) - query(sample).mean()) for query in queries)
    uniform = max(abs(query(np.arange(16)).mean() - query(sample).mean()) for query in queries)
    assert fitted < uniform / 2
    assert mwem.claim_.bound == PureDP(5.0)
    assert len(mwem.chosen_) == 15


@pytest.mark.parametrize(
    ("change", "error"),
    [({"rounds": 0}, InvalidData), ({"epsilon": 0.0}, InvalidClaim), ({"universe": 3}, InvalidData)],
)
def test_mwem_bad_input(change, error):
    with pytest.raises(error):
        MWEM(**{"epsilon": 1.0, "universe": 16, **change}).fit(skewed(100), random_queries(3))


def test_mwem_bad_queries():
    for queries in ([], [lambda cells: cells], [lambda cells: np.eye(16)], ["sum"]):
        with pytest.raises(InvalidData):
            MWEM(1.0, universe=16).fit(skewed(100), queries)
