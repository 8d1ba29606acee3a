"""Targets of the attacks: callables, classifiers and torch modules, good and bad."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sfumato.attacks.subject_membership import subject_losses
from sfumato.errors import InvalidData

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
SUBJECTS = {"a": (X[:5], Y[:5]), "b": (X[5:8], Y[5:8])}


def test_a_callable_gives_its_cross_entropy():
    found = subject_losses([lambda x: np.tile([0.2, 0.8], (len(x), 1))], SUBJECTS)
    np.testing.assert_allclose(found["a"], -np.log(np.where(Y[:5] == 1, 0.8, 0.2))[np.newaxis])
    assert found["b"].shape == (1, 3)


def test_a_classifiers_columns_go_by_its_classes():
    names = np.where(Y == 1, "ant", "bee")
    fitted = LogisticRegression().fit(X, names)
    subjects = {"a": (X[:5], names[:5])}
    expected = -fitted.predict_log_proba(X[:5])[np.arange(5), (names[:5] == "bee").astype(int)]
    for model in (fitted, fitted.predict_proba):
        np.testing.assert_allclose(subject_losses([model], subjects)["a"][0], expected)
    with pytest.raises(InvalidData, match="labels"):
        subject_losses([fitted], {"a": (X[:1], np.array(["cat"]))})


def test_a_torch_module_is_evaluated_and_put_back_as_it_was():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    inner = torch.nn.Dropout(0.5)
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), inner, torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    module.train()
    inner.eval()  # parts may differ
    first = subject_losses([module], SUBJECTS)["a"]
    assert module.training
    assert not inner.training
    assert module[2].training
    np.testing.assert_array_equal(first, subject_losses([module], SUBJECTS)["a"])  # no dropout, no statistics
    module.eval()
    with torch.no_grad():
        logits = module(torch.as_tensor(X[:5], dtype=torch.float32)).double()
    expected = torch.nn.functional.cross_entropy(logits, torch.as_tensor(Y[:5]), reduction="none").numpy()
    np.testing.assert_allclose(first[0], expected, rtol=1e-6)


def test_a_probability_of_zero_is_a_large_loss_and_not_an_infinite_one():
    found = subject_losses([lambda x: np.tile([1.0, 0.0], (len(x), 1))], {"a": (X[:1], np.array([1]))})
    assert found["a"][0, 0] == pytest.approx(69.0776, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: np.full((len(x), 2), np.nan), "diverged"),
        (lambda x: np.full((len(x), 2), np.inf), "diverged"),
        (lambda x: np.tile([3.0, -2.0], (len(x), 1)), "not negative"),
        (lambda x: np.tile([0.2, 0.2], (len(x), 1)), "sum 1"),
        (lambda x: np.full(len(x), 0.5), "shape"),
        (lambda x: np.full((1, 2), 0.5), "shape"),
        (lambda x: np.full((len(x), 1), 1.0), "labels"),
        ("a name", "callable"),
    ],
)
def test_bad_models_are_refused(model, message):
    with pytest.raises(InvalidData, match=message):
        subject_losses([model], {"a": (X[:3], np.array([0, 1, 1]))})


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ({}, "at least one subject"),
        ({"a": (X[:0], Y[:0])}, "at least 1"),
        ({"a": (X[:3], Y[:2])}, "samples"),
        ({"a": (X[:3], Y[:3]), "b": (X[:3, :2], Y[:3])}, "same shape"),
        ({"a": (X[:3], np.array([0, 1, 2]))}, "labels"),
        ({"a": (X[:3], np.array([0, -1, 1]))}, "labels"),
    ],
)
def test_bad_samples_are_refused(subjects, message):
    with pytest.raises(InvalidData, match=message):
        subject_losses([lambda x: np.full((len(x), 2), 0.5)], subjects)
