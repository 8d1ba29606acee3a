"""The estimator: every method by name, what is found without and with overwhelming noise, what is refused."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from sfumato import PureDP
from sfumato.data.words import documentation_words
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.heavy_hitters import FederatedHeavyHitters, FixedText, HashedItems, score
from sfumato.federation.heavy_hitters.estimates import Estimate, add, add_by_shares, top
from sfumato.federation.heavy_hitters.plan import METHODS
from sfumato.studies.heavy_hitters import misaligned

#: Gaps of seven standard errors or more, also of who is asked, at the edges that tests look at.
HELD = {3: 1500, 70: 700, 200: 450, 201: 440, 9: 40}


def parties(n=3):
    items = np.repeat(list(HELD), list(HELD.values()))
    order = np.random.default_rng(0).permutation(len(items))
    return np.array_split(items[order], n)


def estimator(**parameters):
    return FederatedHeavyHitters(**{"k": 4, "epsilon": 20.0, "bits": 8, "levels": 4, "random_state": 0, **parameters})


@pytest.mark.parametrize("oracle", ["auto", "grr", "oue"])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("gtf", "triehh")])
def test_with_hardly_any_noise_the_exact_top_k_is_found_by_every_method(method, oracle):
    fit = estimator(method=method, oracle=oracle).fit(parties())
    assert fit.score(HELD) == {"f1": 1.0, "ncr": 1.0, "precision": 1.0, "recall": 1.0}
    assert set(fit.heavy_hitters_) == {3, 70, 200, 201}
    true = [HELD[item] for item in fit.heavy_hitters_]
    assert np.all(np.abs(fit.counts_ - true) < 6 * fit.stderr_)
    assert fit.claim_.bound == PureDP(20.0)
    assert (fit.claim_.unit, fit.claim_.neighbours, fit.claim_.trust) == ("user", "replace-one", "local")
    assert fit.claim_.formal


def test_gtf_drops_look_alikes_and_triehh_tells_a_set_under_a_central_claim():
    fit = estimator(method="gtf", k=2).fit(parties())
    assert fit.heavy_hitters_[0] == 3
    votes = estimator(method="triehh", epsilon=8.0).fit([items.repeat(20) for items in parties()])
    assert set(votes.heavy_hitters_) >= {3, 70, 200, 201}
    assert np.isnan(votes.counts_).all()
    assert (votes.claim_.trust, votes.claim_.bound.delta) == ("central", 1e-6)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "triehh"])
@pytest.mark.parametrize("simulate", ["reports", "aggregate"])
def test_with_nothing_but_noise_nothing_breaks_and_a_warning_says_so(method, simulate):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = estimator(method=method, simulate=simulate, epsilon=1e-6, random_state=3).fit(parties())
    assert len(fit.heavy_hitters_) <= 4
    assert not fit.significant_.any()
    assert any("may be noise" in str(each.message) for each in said)
    assert fit.claim_.formal == (simulate == "reports")


def test_votes_below_the_threshold_end_the_tree():
    fit = estimator(method="triehh", epsilon=0.1).fit(parties())
    assert fit.heavy_hitters_ == []
    assert len(fit.outcome_.history) == 1
    assert fit.score(HELD)["f1"] == 0.0


def test_the_aligned_tree_finds_what_no_party_alone_can():
    """Paired seeds of the misaligned parties, at a size where the gap is far beyond noise: a sign test of 6 of 6."""
    gaps = []
    for seed in range(3):
        data = misaligned(200_000, seed)
        f1 = {}
        for method in ("aligned", "fedpem"):
            common = {"levels": 6, "simulate": "aggregate", "random_state": seed}
            f1[method] = (
                FederatedHeavyHitters(10, 6.0, method=method, **common).fit(data.items).score(data.counts)["f1"]
            )
        gaps.append(f1["aligned"] - f1["fedpem"])
    assert np.mean(gaps) >= 0.10


def test_simulated_sums_find_what_reports_find():
    for simulate in ("reports", "aggregate"):
        fit = estimator(simulate=simulate, epsilon=5.0).fit(parties())
        assert fit.heavy_hitters_[0] == 3
        assert abs(fit.counts_[0] - 1500) < 6 * fit.stderr_[0]


def test_standard_errors_are_those_of_repeated_runs():
    """Counts of an item in 150 runs: variance within 6 standard errors of the stated one, mean of the truth."""
    items = np.repeat([3, 70, 200], [2000, 300, 200])
    common = {"k": 1, "epsilon": 3.0, "method": "aligned", "levels": 2, "simulate": "aggregate"}
    fits = [estimator(**common, random_state=seed).fit([items[::2], items[1::2]]) for seed in range(150)]
    assert all(fit.heavy_hitters_ == [3] for fit in fits)
    counts = np.array([fit.counts_[0] for fit in fits])
    ratio = counts.var(ddof=1) / np.mean([fit.stderr_[0] ** 2 for fit in fits])
    assert abs(ratio - 1) < 6 * np.sqrt(2 / 150)
    assert abs(counts.mean() - 2000) < 6 * counts.std() / np.sqrt(150)


def test_text_is_found_and_read_again():
    words = ["tea", "coffee", "milk", "water"]
    held = np.repeat(words, [3000, 1200, 40, 30]).tolist()
    halves = [held[::2], held[1::2]]
    fit = FederatedHeavyHitters(2, 8.0, encoder=FixedText(6), levels=6, random_state=0).fit(halves)
    assert fit.heavy_hitters_ == ["tea", "coffee"]
    hashed = FederatedHeavyHitters(2, 8.0, encoder=HashedItems(["tea"]), levels=6, random_state=0).fit(halves)
    assert hashed.heavy_hitters_ == ["tea", None]


def test_items_without_a_code_are_reported_and_not_dropped():
    fit = FederatedHeavyHitters(1, 8.0, encoder=FixedText(3), levels=3, random_state=0)
    fit.fit([["tea"] * 200 + ["é"] * 100])
    assert fit.heavy_hitters_ == ["tea"]
    assert abs(fit.counts_[0] - 200) < 6 * fit.stderr_[0]


def test_sums_of_estimates():
    first = Estimate(np.array([1, 2], np.uint64), np.array([5.0, -1.0]), np.array([1.0, 1.0]), 3.0)
    second = Estimate(np.array([2, 7], np.uint64), np.array([4.0, 2.0]), np.array([2.0, 2.0]), 4.0)
    total = add([first, second])
    assert total.candidates.tolist() == [1, 2, 7]
    assert total.counts.tolist() == [5.0, 3.0, 2.0]  # the negative count is not cut off
    assert total.variances.tolist() == [1.0, 3.0, 2.0]
    assert total.sd == 5.0
    assert top(total, 2).candidates.tolist() == [1, 2]


def test_shares_drop_look_alikes_until_k_are_left():
    near = Estimate(np.array([0b1100, 0b1101, 0b0011], np.uint64), np.array([50.0, 40.0, 30.0]), np.zeros(3), 0.0)
    assert add_by_shares([near], 2, 120).candidates.tolist() == [0b0011, 0b1100]
    assert len(add_by_shares([near], 3, 120).candidates) == 3


def test_scores_weigh_hits_by_rank():
    true = {"a": 5, "b": 4, "c": 3, "d": 1}
    assert score(["a", "x", "c"], true, 3) == {"f1": 2 / 3, "ncr": 4 / 6, "precision": 2 / 3, "recall": 2 / 3}
    assert score([], true, 3)["f1"] == 0.0


@pytest.mark.parametrize(
    ("parameters", "error", "name"),
    [
        ({"epsilon": 0.0}, InvalidClaim, "epsilon"),
        ({"epsilon": float("nan")}, InvalidClaim, "epsilon"),
        ({"epsilon": float("inf")}, InvalidClaim, "epsilon"),
        ({"delta": 2.0}, InvalidClaim, "delta"),
        ({"oracle": "olh"}, InvalidClaim, "grr"),
        ({"method": "triehh", "epsilon": 1e-6}, InvalidClaim, "votes"),
        ({"k": 0}, InvalidData, "k must"),
        ({"k": 257}, InvalidData, "k must"),
        ({"bits": 61}, InvalidData, "bits"),
        ({"levels": 9}, InvalidData, "levels"),
        ({"levels": "many"}, InvalidData, "levels"),
        ({"shared_levels": 5}, InvalidData, "shared_levels"),
        ({"shared_levels": 1, "method": "fedpem"}, InvalidData, "shared_levels"),
        ({"method": "best"}, InvalidData, "method"),
        ({"oracle": "rappor"}, InvalidData, "oracle"),
        ({"extension": "none"}, InvalidData, "extension"),
        ({"sync": "never"}, InvalidData, "sync"),
        ({"upload": "none"}, InvalidData, "upload"),
        ({"simulate": "yes"}, InvalidData, "simulate"),
        ({"z": -1.0}, InvalidData, "z must"),
        ({"z": float("nan")}, InvalidData, "z must"),
        ({"t_max": 2}, InvalidData, "t_max"),
        ({"bits": 48, "levels": 2}, InvalidData, "more levels"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, error, name):
    with pytest.raises(error, match=name):
        estimator(**parameters).fit(parties())


def test_bad_parties_are_refused_by_name():
    with pytest.raises(InvalidData, match="party 1 has 3 users"):
        estimator().fit([range(9), range(3)])
    with pytest.raises(InvalidData, match="one kind"):
        estimator().fit([range(9), ["a"] * 9])
    with pytest.raises(InvalidData, match="non-empty"):
        estimator().fit([])
    with pytest.raises(InvalidData, match="silos"):
        estimator().fit()


def test_it_is_a_scikit_learn_estimator():
    one = estimator(encoder=FixedText(2), levels="auto")
    assert clone(one).get_params()["levels"] == "auto"
    assert one.protocol().plan.levels == 1
    assert one.bits == 8  # stored verbatim; the encoder's are used


def test_words_of_installed_documentation():
    words = documentation_words("narwhals", skip={"the"})
    assert words["dataframe"] > 100
    assert "the" not in words
    with pytest.raises(InvalidData, match="package"):
        documentation_words("no_such_package")
