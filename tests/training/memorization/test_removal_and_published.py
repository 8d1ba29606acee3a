"""What memorised records are worth, and estimates that others published."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier

from sfumato.errors import InvalidData
from sfumato.training.memorization import load_published_estimates, long_tail_mixture, removal_curve


def mixture():
    data = long_tail_mixture(900, 150, n_classes=8, random_state=0)
    counts = np.bincount(data.subpopulation[:400], minlength=150)
    # with well separated clusters 1-NN memorises those that are alone in theirs, up to chance
    alone = (counts[data.subpopulation[:400]] == 1).astype(float)
    return data.data[:400], data.target[:400], data.data[400:], data.target[400:], alone


def test_useful_singletons_cost_more_than_as_many_at_random():
    x, y, x_test, y_test, alone = mixture()
    curve = removal_curve(KNeighborsClassifier(1), x, y, x_test, y_test, alone, thresholds=(0.5,), repeats=10)
    assert curve["removed"].tolist() == [alone.sum()]
    assert curve["low"][0] > 0
    assert curve["gap"][0] == pytest.approx(curve["control"][0] - curve["accuracy"][0])


def test_removing_what_was_chosen_at_random_costs_what_the_control_does():
    """The twin: scores that say nothing. A 1 - 1e-6 interval of both trainings and records holds 0."""
    x, y, x_test, y_test, _ = mixture()
    chance = np.random.default_rng(1).random(400)
    trees = ExtraTreesClassifier(5)
    curve = removal_curve(trees, x, y, x_test, y_test, chance, thresholds=(0.8,), repeats=10, confidence=0.999)
    assert curve["low"][0] < 0.05
    assert curve["high"][0] > -0.05


def test_nothing_to_remove_changes_nothing_and_missing_scores_stay():
    x, y, x_test, y_test, alone = mixture()
    alone[0] = np.nan
    curve = removal_curve(KNeighborsClassifier(1), x, y, x_test, y_test, alone * 0.5, thresholds=(0.9,), repeats=2)
    assert curve.loc[0, ["removed", "gap"]].tolist() == [0, 0]


@pytest.mark.parametrize(
    "change", [{"memorization": np.zeros(3)}, {"thresholds": ()}, {"memorization": np.ones(400)}, {"repeats": 1}]
)
def test_bad_input_is_refused(change):
    x, y, x_test, y_test, alone = mixture()
    with pytest.raises(InvalidData):
        removal_curve(KNeighborsClassifier(1), **{"X": x, "y": y, "X_test": x_test, "y_test": y_test,
                                                  "memorization": alone, **change})  # fmt: skip


def test_published_estimates_are_read_by_their_keys(tmp_path):
    content = {"tr_mem": np.array([0.1, 0.9, -0.2]), "tr_labels": np.array([3, 1, 1]), "other": np.zeros(1)}
    np.savez(tmp_path / "imagenet.npz", **content)
    found = load_published_estimates(tmp_path / "imagenet.npz")
    assert found.memorization.tolist() == [0.1, 0.9, -0.2]
    assert found.labels.tolist() == [3, 1, 1]
    assert found.influence is None
    np.savez(tmp_path / "cifar.npz", **content, tt_labels=np.array([1, 3]), infl=np.zeros((3, 2), dtype=np.float32))
    assert load_published_estimates(tmp_path / "cifar.npz").influence.shape == (3, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tr_labels": np.zeros(3)}, "lacks tr_mem"),
        ({"tr_mem": np.zeros(3), "tr_labels": np.zeros(2)}, "one length"),
        ({"tr_mem": np.full(2, 7.0), "tr_labels": np.zeros(2)}, r"\[-1, 1\]"),
        ({"tr_mem": np.zeros(2), "tr_labels": np.array([{}, {}])}, "plain arrays"),
        ({"tr_mem": np.zeros(2), "tr_labels": np.zeros(2), "infl": np.zeros((3, 1))}, "infl"),
    ],
)
def test_files_of_another_kind_are_refused(content, said, tmp_path):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(InvalidData, match=said):
        load_published_estimates(tmp_path / "x.npz")


def test_so_are_no_file_and_a_file_that_is_none(tmp_path):
    with pytest.raises(InvalidData, match="no file"):
        load_published_estimates(tmp_path / "x.npz")
    for content in (b"text", b""):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InvalidData, match="plain arrays"):
            load_published_estimates(tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(InvalidData, match="plain arrays"):
        load_published_estimates(tmp_path / "y.npy")
