"""scikit-learn's own checks, and bad input: a clear error before anything is spent, without a value of the data."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from sfumato import BudgetExceeded, InvalidClaim, InvalidData, Ledger, PureDP, Release
from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, SimilarityClassifier

#: scikit-learn's checks that these estimators fail on purpose.
EXPECTED = {
    "check_dtype_object": "wants a TypeError; ours is InvalidData, a ValueError whose message has no value in it",
    "check_estimators_empty_data_messages": "an empty data set is served: refusing it would show that it is empty",
    "check_fit_score_takes_y": "calls partial_fit after fit, which is refused: it would be a second release",
}
#: Those that pass classes to partial_fit, which here must have been declared before.
OF_CLASSIFIERS = {"check_estimators_partial_fit_n_features", "check_n_features_in_after_fitting"}
SKIPPED = {"check_array_api_input": "for array API inputs; SCIPY_ARRAY_API is not set"}


class DeclaredFromY(SimilarityClassifier):
    """The checks pass many kinds of labels; no user should declare them from y, as this does."""

    def fit(self, X, y=None):
        labels = [0] if y is None else list(dict.fromkeys(np.asarray(y).ravel().tolist()))
        fitted = clone(self).set_params(classes=labels)
        SimilarityClassifier.fit(fitted, X, y)
        self.__dict__.update({k: v for k, v in fitted.__dict__.items() if k not in self.get_params()})
        return self


SUBJECTS = [
    PrivateKDE("gaussian", 2.0, epsilon=100.0, random_state=0, noise_seed=0),
    PrivateDistanceSum("l1", 100.0, low=-10, high=10, levels=6, noise_seed=0),
    PrivateDistanceSum("l2", 100.0, norm_bound=10, levels=6, random_state=0, noise_seed=0),
    PrivateDistanceSum("sqeuclidean", 100.0, norm_bound=10, noise_seed=0),
    DeclaredFromY("kernel", 100.0, norm_bound=4.0, delta=1e-5, random_state=0, noise_seed=0),
    DeclaredFromY("centroid", 100.0, norm_bound=10.0, noise_seed=0),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: f"{type(s).__name__}-{getattr(s, 'metric', '')}")
def test_scikit_learns_checks_pass(subject):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(subject, on_fail=None, on_skip=None)
    failed = {each["check_name"] for each in results if each["status"] == "failed"}
    skipped = {each["check_name"] for each in results if each["status"] == "skipped"}
    assert failed <= set(EXPECTED) | (OF_CLASSIFIERS if isinstance(subject, SimilarityClassifier) else set())
    assert skipped <= set(SKIPPED)
    assert sum(each["status"] == "passed" for each in results) > 30


@pytest.fixture
def unopened(monkeypatch):
    """No release may be opened."""

    def refuse(self):
        raise AssertionError("a release was opened")

    monkeypatch.setattr(Release, "__enter__", refuse)


SECRET = 7654321.125
BAD_ROWS = [
    [[SECRET], [np.nan]],
    [[SECRET], [np.inf]],
    [SECRET, 1.0],
    [[[SECRET]]],
    [["7654321"]],
    [[SECRET, 1.0], [2.0]],
    np.array([[SECRET + 1j]]),
    np.array([[{"7654321": 1}]], dtype=object),
    np.empty((3, 0)),
]
GOOD = {
    PrivateDistanceSum: {"low": 0, "high": 1},
    PrivateKDE: {"bandwidth": 1.0},
    SimilarityClassifier: {"classes": [0, 1], "norm_bound": 1.0},
}


def fit(kind, X, **change):
    parameters = {**GOOD[kind], **change}
    if kind is SimilarityClassifier:
        return kind(**parameters).fit(X, np.zeros(np.shape(X)[0], int))
    return kind(**parameters).fit(X)


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("rows", BAD_ROWS, ids=range(len(BAD_ROWS)))
@pytest.mark.usefixtures("unopened")
def test_bad_rows(kind, rows):
    with pytest.raises(InvalidData) as caught:
        if kind is SimilarityClassifier:
            kind(**GOOD[kind]).fit(rows, [0, 1][: len(rows)])
        else:
            kind(**GOOD[kind]).fit(rows)
    assert "7654321" not in str(caught.value)
    assert caught.value.__cause__ is None


BAD_EVERYWHERE = [
    {"epsilon": 0}, {"epsilon": -1}, {"epsilon": np.nan}, {"epsilon": "1"}, {"epsilon": 1e-12},
    {"epsilon": 1.0, "rho": 1.0}, {"epsilon": 1.0, "delta": 0}, {"epsilon": 1.0, "delta": 1.0}, {"rho": 0},
    {"neighbours": "both"}, {"noise": "uniform"}, {"epsilon": 1.0, "noise": "gaussian"},
    {"rho": 1.0, "noise": "laplace"}, {"noise_seed": -1}, {"noise_seed": 0.5}, {"noise_seed": True},
]  # fmt: skip
BAD = [(kind, change) for kind in GOOD for change in BAD_EVERYWHERE] + [
    (PrivateDistanceSum, change)
    for change in (
        {"metric": "cosine"}, {"low": None}, {"high": None}, {"low": 1, "high": 1}, {"low": np.nan}, {"high": np.inf},
        {"low": [0, 0]}, {"low": "a"}, {"levels": 0}, {"levels": 27}, {"levels": 2.5}, {"shares": "even"},
        {"metric": "l2"}, {"metric": "sqeuclidean"}, {"metric": "l2", "norm_bound": 0}, {"directions": 0},
        {"metric": "l2", "norm_bound": "1"}, {"metric": "sqeuclidean", "norm_bound": np.inf},
    )
] + [
    (PrivateKDE, change)
    for change in (
        {"bandwidth": 0}, {"bandwidth": -1}, {"bandwidth": np.nan}, {"bandwidth": None}, {"kernel": "cubic"},
        {"n_features": 0}, {"n_features": 1.5}, {"n_features": 2**20}, {"project": 0}, {"project": "some"},
        {"epsilon": 1e-9, "n_features": 2**17},
    )
] + [
    (SimilarityClassifier, change)
    for change in (
        {"method": "forest"}, {"norm_bound": None}, {"norm_bound": -1}, {"bandwidth": 0}, {"kernel": "cubic"},
        {"n_features": 0}, {"classes": None}, {"classes": []},
    )
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), BAD, ids=lambda x: getattr(x, "__name__", str(x)))
@pytest.mark.usefixtures("unopened")
def test_bad_parameters(kind, change):
    with pytest.raises((InvalidData, InvalidClaim)):
        fit(kind, [[0.5], [0.25]], **change)


@pytest.mark.usefixtures("unopened")
def test_too_deep_a_tree_is_refused_with_its_bytes():
    with pytest.raises(InvalidData, match="bytes"):
        PrivateDistanceSum("l1", low=0, high=1, levels=26).fit(np.zeros((2, 4)))


@pytest.mark.parametrize("kind", GOOD)
def test_queries_are_checked_too(kind):
    fitted = fit(kind, [[0.5], [0.25]])
    ask = {PrivateDistanceSum: "sum", PrivateKDE: "density_sum", SimilarityClassifier: "predict"}[kind]
    for bad in ([[0.5, 0.5]], [[np.nan]], [0.5]):
        with pytest.raises(InvalidData):
            getattr(fitted, ask)(bad)
    if kind is not SimilarityClassifier:
        for beta in (0, 1, np.nan):
            with pytest.raises(InvalidData, match="beta"):
                fitted.error_bound([[0.5]], beta)


def test_a_kernel_without_an_integral_has_no_density():
    with pytest.raises(InvalidData, match="integral"):
        PrivateKDE("inverse").fit([[0.0]]).score_samples([[0.0]])
    with pytest.raises(InvalidData, match="integral"):
        PrivateKDE("inverse_quadratic").fit([[0.0, 0.0]]).score_samples([[0.0, 0.0]])


@pytest.mark.parametrize("kind", GOOD)
def test_a_fit_is_charged_once_and_questions_nothing(kind, tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("people", PureDP(1.5))
    with ledger.charging("people"):
        fitted = fit(kind, [[0.5], [0.25]], epsilon=1.0)
        for _ in range(3):
            getattr(fitted, "predict" if kind is SimilarityClassifier else "error_bound")([[0.5]])
        with pytest.raises(BudgetExceeded):
            fit(kind, [[0.5], [0.25]], epsilon=1.0)


@pytest.mark.parametrize("kind", GOOD)
def test_the_claim_says_what_is_public(kind):
    claim = fit(kind, [[0.5], [0.25]], epsilon=1.0).claim_
    assert claim.formal
    assert claim.bound == PureDP(1.0)
    said = " ".join(claim.assumptions)
    assert "public" in said
    assert "one row" in said
    if kind is not PrivateDistanceSum:
        assert "bandwidth" in said
    assert not fit(kind, [[0.5]], noise_seed=1).claim_.formal
