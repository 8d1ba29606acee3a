"""The estimator: exact against brute force, on digits, stopped and resumed, with text labels, frames and functions."""

import itertools
import subprocess
import sys
import textwrap
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sfumato.errors import InvalidData
from sfumato.training.memorization import MemorizationEstimator, plot_most_memorized

NEAREST = KNeighborsClassifier(1, algorithm="brute")


def quiet(estimator, **change):
    return MemorizationEstimator(estimator, **{"n_models": 60, "progress": False, **change})


def toy(n=40, m=15, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n + m, 3)), rng.integers(3, size=n + m)
    return x[:n], y[:n], x[n:], y[n:]


def test_over_all_subsets_it_equals_brute_force(monkeypatch):
    """n = 12, all 495 subsets of 8, 1-NN written again in plain Python."""
    x, y, x_test, y_test = toy(12, 5, seed=3)
    subsets = list(itertools.combinations(range(12), 8))
    monkeypatch.setattr(MemorizationEstimator, "_plan", lambda self, k, n, size: (np.array(subsets[k]), 0))
    found = quiet(NEAREST, n_models=len(subsets), subset=8 / 12, influence_threshold=None).fit(x, y, x_test, y_test)

    def right(subset, point, label):
        nearest = min(subset, key=lambda j: sum((a - b) ** 2 for a, b in zip(x[j], point, strict=True)))
        return y[nearest] == label

    def difference(i, point, label):
        inside = [right(s, point, label) for s in subsets if i in s]
        outside = [right(s, point, label) for s in subsets if i not in s]
        return float(Fraction(sum(map(int, inside)), len(inside)) - Fraction(sum(map(int, outside)), len(outside)))

    expected = [difference(i, x[i], y[i]) for i in range(12)]
    assert found.memorization_ == pytest.approx(expected, abs=1e-12)
    influence = [[difference(i, p, label) for p, label in zip(x_test, y_test, strict=True)] for i in range(12)]
    assert found.influence_ == pytest.approx(np.array(influence), abs=1e-6)


@pytest.fixture(scope="module")
def flipped_digits():
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))[:900]
    x, clean = x[order], y[order]
    noisy = clean[:600].copy()
    noisy[:30] = (noisy[:30] + rng.integers(1, 10, size=30)) % 10
    return x[:600], noisy, x[600:], clean[600:]


def test_one_nearest_neighbour_memorises_wrong_labels_and_fifteen_cannot(flipped_digits):
    """And the twin that takes training error for memorisation says the opposite of fifteen."""
    x, y, _, _ = flipped_digits
    one = quiet(NEAREST, n_models=80).fit(x, y)
    assert one.memorization_[:30].mean() >= 0.97
    assert one.memorization_[30:].mean() < 0.2
    fifteen = quiet(KNeighborsClassifier(15, algorithm="brute"), n_models=80).fit(x, y)
    assert abs(fifteen.memorization_[:30].mean()) <= 0.02
    training_error = 1 - fifteen.in_rate_[:30]
    assert training_error.mean() > 0.95


def test_planted_near_duplicates_are_found(flipped_digits):
    """A test record next to a wrongly labelled training record hangs on it."""
    x, y, x_test, y_test = flipped_digits
    x_test, y_test = x_test.copy(), y_test.copy()
    x_test[:20], y_test[:20] = x[:20] + 0.01, y[:20]
    pairs = quiet(NEAREST, n_models=120).fit(x, y, x_test, y_test).high_influence_pairs(0.5, 0.5)
    planted = (pairs["train"] == pairs["test"]) & (pairs["train"] < 20)
    assert planted.sum() == 20
    strongest = pairs.head(20)
    assert (strongest["train"] == strongest["test"]).mean() >= 0.95
    assert (pairs["label"] == y[pairs["train"]]).all()


def test_trees_too_and_with_probabilities_the_error_is_smaller(flipped_digits):
    x, y, _, _ = flipped_digits
    trees = ExtraTreesClassifier(10, random_state=0)
    hard = quiet(trees, n_models=50).fit(x, y)
    soft = quiet(trees, n_models=50, score="proba").fit(x, y)
    assert hard.memorization_[:30].mean() > 0.8
    assert soft.memorization_[:30].mean() > 0.8
    assert soft.memorization_se_[30:].mean() < hard.memorization_se_[30:].mean()
    low, high = soft.memorization_interval()
    assert ((low <= soft.memorization_) & (soft.memorization_ <= high)).all()
    assert (high - low).max() < 0.5
    with pytest.raises(InvalidData, match="normal"):
        soft.memorization_interval(method="newcombe")
    with pytest.raises(InvalidData, match="score"):
        soft.epsilon_lower_bound()


def test_a_longer_run_begins_with_the_shorter_one_and_several_processes_agree():
    data = toy()
    short, long = quiet(NEAREST, n_models=50).fit(*data), quiet(NEAREST, n_models=70, n_jobs=2).fit(*data)
    assert np.array_equal(short.members_, long.members_[:50])
    assert np.array_equal(short.train_scores_, long.train_scores_[:50])
    assert (short.members_.sum(axis=1) == 28).all()


def test_a_function_that_trains_is_as_good_as_a_classifier():
    x, y, x_test, y_test = toy()
    seeds = []

    def train(indices, seed):
        seeds.append(seed)
        return KNeighborsClassifier(1, algorithm="brute").fit(x[indices], y[indices]).predict_proba

    by_class = quiet(NEAREST).fit(x, y, x_test, y_test)
    by_function = quiet(train).fit(x, y, x_test, y_test)
    assert np.array_equal(by_class.memorization_, by_function.memorization_)
    assert len(set(seeds)) == 60
    assert by_function.test_score_ == by_class.test_scores_.mean()


def test_frames_and_text_labels_and_a_class_that_a_subset_lacks():
    x, y, x_test, y_test = toy()
    names = np.array(["a", "b", "c", "only once"])[y]
    names[0] = "only once"
    frame, frame_test = pd.DataFrame(x, columns=list("uvw")), pd.DataFrame(x_test, columns=list("uvw"))
    tests = np.array(["a", "b", "c"])[y_test]
    for kind in ("correct", "proba"):
        found = quiet(NEAREST, score=kind).fit(frame, names, frame_test, tests)
        assert found.memorization_[0] == 1
        assert found.classes_.tolist() == ["a", "b", "c", "only once"]


def test_it_stops_and_goes_on_with_identical_scores(tmp_path):
    x, y, x_test, y_test = toy()
    trained = []

    def train(indices, seed):
        trained.append(seed)
        if len(trained) == 25:
            raise KeyboardInterrupt
        return KNeighborsClassifier(1).fit(x[indices], y[indices]).predict

    with pytest.raises(KeyboardInterrupt):
        quiet(train, cache_dir=tmp_path).fit(x, y, x_test, y_test)
    assert len(list(tmp_path.glob("model-*.npz"))) == 24
    resumed = quiet(train, cache_dir=tmp_path).fit(x, y, x_test, y_test)
    assert len(trained) == 25 + 60 - 24
    whole = quiet(NEAREST).fit(x, y, x_test, y_test)
    assert np.array_equal(resumed.memorization_, whole.memorization_)
    assert (resumed.influence_ != whole.influence_).nnz == 0


def test_it_survives_a_kill(tmp_path):
    """The process ends at once in its 20th training."""
    script = textwrap.dedent(
        f"""
        import os, sys, numpy as np
        from sklearn.neighbors import KNeighborsClassifier
        from sfumato.training.memorization import MemorizationEstimator
        rng = np.random.default_rng(0)
        x, y, last, done = rng.normal(size=(30, 3)), rng.integers(2, size=30), int(sys.argv[1]), []
        def train(indices, seed):
            done.append(seed)
            if len(done) == last:
                os._exit(9)
            return KNeighborsClassifier(1).fit(x[indices], y[indices]).predict
        made = MemorizationEstimator(train, n_models=50, cache_dir={str(tmp_path)!r}, progress=False).fit(x, y)
        print(len(done), made.memorization_.tolist())
        """
    )

    def run(last):
        return subprocess.run([sys.executable, "-c", script, str(last)], capture_output=True, text=True, check=False)

    assert run(20).returncode == 9
    resumed = run(0)
    assert resumed.returncode == 0, resumed.stderr
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.integers(2, size=30)
    whole = quiet(KNeighborsClassifier(1), n_models=50).fit(x, y)
    assert resumed.stdout == f"31 {whole.memorization_.tolist()}\n"


@pytest.mark.parametrize("change", ["labels", "records", "test", "subset", "score", "learner", "random_state"])
def test_a_cache_of_something_else_is_refused(change, tmp_path):
    x, y, x_test, y_test = toy()
    quiet(NEAREST, cache_dir=tmp_path).fit(x, y, x_test, y_test)
    settings, learner, data = {}, NEAREST, [x.copy(), y.copy(), x_test.copy(), y_test]
    if change == "learner":
        learner = KNeighborsClassifier(2, algorithm="brute")
    elif change in ("labels", "records", "test"):
        place = {"records": 0, "labels": 1, "test": 2}[change]
        data[place][0] += 1
    else:
        settings = {change: {"subset": 0.6, "score": "proba", "random_state": 1}[change]}
    with pytest.raises(InvalidData, match="holds scores of other data"):
        quiet(learner, cache_dir=tmp_path, **settings).fit(*data)
    assert (tmp_path / "model-000000.npz").stat().st_mode & 0o077 == 0


def test_few_models_warn_and_unknown_records_are_nan():
    x, y, _, _ = toy()
    with pytest.warns(UserWarning, match="standard error"):
        MemorizationEstimator(NEAREST, n_models=20, progress=False).fit(x, y)
    with pytest.warns(UserWarning, match="NaN"):
        found = MemorizationEstimator(NEAREST, n_models=2, progress=False).fit(x, y)
    assert np.isnan(found.memorization_).any()
    assert found.most_memorized(3)["memorization"].notna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(NEAREST, n_models=100).fit(x, y)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"subset": 0.05}, "subset"),
        ({"subset": 0.95}, "subset"),
        ({"n_models": 1}, "n_models"),
        ({"score": "loss"}, "score"),
        ({"random_state": None}, "random_state"),
        ({"influence_threshold": 0.0}, "threshold"),
        ({"estimator": 3}, "estimator"),
    ],
)
def test_parameters_are_checked(settings, said):
    with pytest.raises(InvalidData, match=said):
        quiet(**{"estimator": NEAREST, **settings}).fit(*toy())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y, a, b: (x, y.astype(float), a, b), "classes"),
        (lambda x, y, a, b: (x, y[:-1], a, b), "labels for"),
        (lambda x, y, a, b: (x, y, a, None), "go together"),
        (lambda x, y, a, b: (x[:1], y[:1], a, b), "too few"),
        (lambda x, y, a, b: (x, np.array([None, *y[1:]], dtype=object), a, b), "missing"),
    ],
)
def test_data_are_checked(change, said):
    with pytest.raises(InvalidData, match=said):
        quiet(NEAREST).fit(*change(*toy()))


def test_predictions_are_checked():
    x, y, _, _ = toy()
    for learner, settings, said in (
        (lambda indices, seed: lambda z: np.zeros((len(z), 7)), {}, "shape"),
        (lambda indices, seed: lambda z: np.zeros(len(z)), {"score": "proba"}, "probabilities"),
    ):
        with pytest.raises(InvalidData, match=said):
            quiet(learner, **settings).fit(x, y)


def test_pairs_need_test_records_and_a_threshold_within_what_was_kept():
    x, y, x_test, y_test = toy()
    with pytest.raises(InvalidData, match="test records"):
        quiet(NEAREST).fit(x, y).high_influence_pairs()
    with pytest.raises(InvalidData, match="influence_threshold"):
        quiet(NEAREST, influence_threshold=0.3).fit(x, y, x_test, y_test).high_influence_pairs(influence=0.2)
    dense = quiet(NEAREST, influence_threshold=None).fit(x, y, x_test, y_test).high_influence_pairs()
    kept = quiet(NEAREST).fit(x, y, x_test, y_test).high_influence_pairs()
    pd.testing.assert_frame_equal(dense, kept)


def test_it_is_a_scikit_learn_estimator():
    made = clone(quiet(LogisticRegression(C=2.0), n_models=77))
    assert made.get_params()["n_models"] == 77
    assert made.get_params()["estimator__C"] == 2.0


def test_the_most_memorised_are_drawn_with_whom_they_influence(flipped_digits):
    x, y, x_test, y_test = flipped_digits
    found = quiet(NEAREST).fit(x, y, x_test, y_test)
    axes = plot_most_memorized(found, x.reshape(-1, 8, 8), x_test.reshape(-1, 8, 8), count=6)
    assert axes.shape == (2, 6)
    table = found.most_memorized(6)
    assert table["memorization"].is_monotonic_decreasing
    assert f"{table['memorization'].iloc[0]:.2f}" in axes[0, 0].get_title()
    assert np.array_equal(axes[0, 0].images[0].get_array(), x[table.index[0]].reshape(8, 8))
    assert plot_most_memorized(found, x.reshape(-1, 8, 8), count=3).shape == (1, 3)
    with pytest.raises(InvalidData, match="pictures"):
        plot_most_memorized(found, x)
    with pytest.raises(InvalidData, match="test_images"):
        plot_most_memorized(quiet(NEAREST).fit(x, y), x.reshape(-1, 8, 8), x_test.reshape(-1, 8, 8))
