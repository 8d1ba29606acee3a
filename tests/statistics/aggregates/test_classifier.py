"""The logistic fit to proportions, and the loss for training loops."""

import math

import numpy as np
import pytest
from scipy import optimize
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import (
    AggregateClassifier,
    InterpolatingLoss,
    aggregate,
    aggregate_labels,
    bag_loss,
    instance_loss,
    make_bags,
    randomize_labels,
)
from sfumato.statistics.aggregates.bags import read_bags
from sfumato.statistics.aggregates.classifier import RHOS
from sfumato.statistics.aggregates.logistic import Fitting, Problem

torch = pytest.importorskip("torch")


def people(n=600, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1.0, 10.0, 0.1][:d] + 3
    logit = (X - 3) @ [1.5, -0.1, 5.0][:d]
    return X, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_bags_of_one_are_logistic_regression(fit_intercept):
    X, y = people()
    ours = AggregateClassifier(ridge=2.0, fit_intercept=fit_intercept, tol=1e-9).fit(X, y)
    theirs = LogisticRegression(C=0.5, fit_intercept=fit_intercept, tol=1e-10, max_iter=10_000).fit(X, y)
    assert ours.coef_ == pytest.approx(theirs.coef_, abs=1e-4)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-3)
    assert ours.predict_proba(X) == pytest.approx(theirs.predict_proba(X), abs=1e-4)


FITTING = Fitting(ridge=1.0, fit_intercept=True, max_iter=1000, tol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_gradient_is_that_of_the_loss(rho, classes):
    X, _ = people(60)
    bags = read_bags(make_bags(60, 7, remainder="larger", random_state=0))
    rng = np.random.default_rng(1)
    problem = Problem(X, bags, bags.means(np.eye(classes)[rng.integers(classes, size=60)]), rho, FITTING)
    at = rng.normal(size=4 * (1 if classes == 2 else classes))
    shaped = [lambda p, i=i: problem._objective(p.reshape(-1, 4))[i] for i in (0, 1)]
    assert optimize.check_grad(*shaped, at) < 1e-5


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_bags_of_one_of_three_classes_are_multinomial_regression(fit_intercept):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    ours = AggregateClassifier(ridge=2.0, fit_intercept=fit_intercept, tol=1e-9).fit(X, names)
    theirs = LogisticRegression(C=0.5, fit_intercept=fit_intercept, tol=1e-10, max_iter=10_000).fit(X, names)
    assert ours.predict_proba(X) == pytest.approx(theirs.predict_proba(X), abs=1e-4)
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.coef_.shape == (3, 4)
    assert ours.decision_function(X).shape == (150, 3)


def test_two_classes_told_as_two_columns_are_the_one_column():
    X, y = people()
    bag_id = make_bags(600, 6, random_state=0)
    one = AggregateClassifier(0.3).fit(X, aggregate(y, bag_id), bag_id=bag_id)
    two = AggregateClassifier(0.3).fit(X, aggregate_labels(y, bag_id), bag_id=bag_id)
    assert two.coef_ == pytest.approx(one.coef_, rel=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_learns_flowers_from_proportions_of_three_species():
    X, y = load_iris(return_X_y=True)
    bag_id = make_bags(150, 5, random_state=0)
    told = aggregate_labels(y, bag_id)
    fit = AggregateClassifier().fit(X, told, bag_id=bag_id)
    assert fit.score(X, y) > 0.9
    plain = AggregateClassifier().fit(X, told.proportions, bag_id=bag_id)
    assert plain.coef_ == pytest.approx(fit.coef_)
    shuffled = AggregateClassifier().fit(X, told.proportions[::-1], bag_id=bag_id)  # a fake: other bags' shares
    assert shuffled.score(X, y) < 0.7
    with pytest.raises(InvalidData, match="other bags"):
        AggregateClassifier().fit(X, told, bag_id=np.where(np.arange(150) == 3, 7, bag_id))


def test_it_learns_from_randomized_labels():
    X, y = people(20_000)
    told = randomize_labels(y, classes=[0, 1], epsilon=1.0, noise_seed=0)
    fit = AggregateClassifier().fit(X, told)
    truth = AggregateClassifier().fit(X, y)
    raw = AggregateClassifier().fit(X, told.reported)  # a fake: reports taken for labels
    assert np.linalg.norm((fit.coef_ - truth.coef_) * X.std(0)) < 0.25
    assert np.linalg.norm((raw.coef_ - truth.coef_) * X.std(0)) > 1
    with pytest.raises(InvalidData, match="ridge"):
        AggregateClassifier(ridge=0).fit(X, told)
    with pytest.raises(InvalidData, match="bag_id"):
        AggregateClassifier().fit(X, told, bag_id=np.arange(len(X)))


def test_it_learns_from_proportions_on_real_patients():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    bag_id = make_bags(len(X), 8, remainder="larger", random_state=0)
    fit = AggregateClassifier().fit(X, aggregate(y, bag_id), bag_id=bag_id)
    assert fit.rho_ in RHOS
    assert roc_auc_score(y, fit.decision_function(X)) > 0.95
    noisy = aggregate(y, bag_id, epsilon=2.0, bounds=(0, 1), granules=1, noise_seed=0)
    assert roc_auc_score(y, AggregateClassifier(ridge=50.0).fit(X, noisy, bag_id=bag_id).decision_function(X)) > 0.9


def test_rho_matters_and_proportions_are_clipped():
    X, y = people()
    bag_id = make_bags(600, 6, random_state=0)
    means = aggregate(y, bag_id).means
    coefs = [AggregateClassifier(rho).fit(X, means, bag_id=bag_id).coef_ for rho in (0.0, 1.0)]
    assert np.linalg.norm(coefs[0] * X.std(axis=0)) > 1.5 * np.linalg.norm(coefs[1] * X.std(axis=0))
    beyond = AggregateClassifier(1.0).fit(X, means * 3 - 1, bag_id=bag_id).coef_
    clipped = AggregateClassifier(1.0).fit(X, np.clip(means * 3 - 1, 0, 1), bag_id=bag_id).coef_
    assert (beyond == clipped).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"rho": 1.5}, "rho"), ({"rho": "cv"}, "rho"), ({"ridge": -1}, "ridge"), ({"max_iter": 0}, "max_iter")],
)
def test_bad_parameters_are_named(change, said):
    with pytest.raises(InvalidData, match=said):
        AggregateClassifier(**change).fit(*people())


def test_bad_data_are_named():
    X, y = people()
    bag_id = make_bags(600, 6, random_state=0)
    with pytest.raises(InvalidData, match="two classes"):
        AggregateClassifier().fit(X, np.zeros(600))
    with pytest.raises(InvalidData, match="finite"):
        AggregateClassifier().fit(X, np.full((100, 3), np.nan), bag_id=bag_id)
    with pytest.raises(InvalidData, match="one class"):
        AggregateClassifier().fit(X, np.zeros(600))
    with pytest.raises(InvalidData, match="one entry a bag"):
        AggregateClassifier().fit(X, y, bag_id=bag_id)
    with pytest.raises(InvalidData, match="finite"):
        AggregateClassifier().fit(X, np.full(100, np.nan), bag_id=bag_id)


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0, 2.0])
def test_the_training_loss_is_the_definition(rho):
    rng = np.random.default_rng(0)
    f, targets = rng.normal(size=(5, 4)), rng.normal(size=5)
    bag_id = np.repeat(np.arange(5), 4)
    expected = (1 - rho) * bag_loss(f.ravel(), bag_id, targets) + rho * instance_loss(f.ravel(), bag_id, targets)
    found = InterpolatingLoss(rho)(torch.tensor(f), torch.tensor(targets))
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("rho", "loss"), [(0.3, "squared"), (0.3, "cross-entropy"), (0.0, "cross-entropy")])
def test_masks_are_smaller_bags(rho, loss):
    rng = np.random.default_rng(1)
    targets = torch.tensor(rng.random(2))
    f = torch.tensor(rng.normal(size=(2, 4)), requires_grad=True)
    mask = torch.tensor([[True, True, True, True], [True, False, True, False]])
    whole = InterpolatingLoss(rho, loss=loss)
    parts = 4 * whole(f[:1], targets[:1]) + 2 * whole(f[1:, [0, 2]], targets[1:])
    masked = whole(f, targets, mask)
    assert masked.item() == pytest.approx(parts.item() / 6, rel=1e-10)
    masked.backward()
    assert f.grad[1, [1, 3]].tolist() == [0, 0]
    assert torch.isfinite(f.grad).all()


def test_cross_entropy_is_that_of_the_classifier_and_does_not_overflow():
    X, y = people(60)
    bags = read_bags(make_bags(60, 5, random_state=0))
    proportions = bags.means(y.astype(float))
    problem = Problem(X, bags, np.column_stack((1 - proportions, proportions)), 0.3, FITTING)
    at = np.random.default_rng(1).normal(size=(1, 4))
    order = np.argsort(bags.of, kind="stable")
    logits = torch.tensor((problem.Z @ at[0, 1:] + at[0, 0])[order].reshape(12, 5))
    found = InterpolatingLoss(0.3, loss="cross-entropy")(logits, torch.tensor(proportions))
    assert found.item() == pytest.approx(problem.loss(at)[0], rel=1e-10)
    far = torch.tensor([[1e4, -1e4], [-1e4, -1e4]], dtype=torch.float32, requires_grad=True)
    for rho in (0.0, 1.0):
        value = InterpolatingLoss(rho, loss="cross-entropy")(far, torch.tensor([0.5, 1.0]))
        assert math.isfinite(value.item())


def test_a_network_trains_on_bags():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 2)).astype(np.float32)
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    bags = torch.tensor(X.reshape(200, 4, 2))
    means = torch.tensor(y.reshape(200, 4).mean(axis=1))
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    loss = InterpolatingLoss(rho=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        loss(model(bags).squeeze(-1), means).backward()
        optimizer.step()
    residual = y - model(torch.tensor(X)).detach().numpy()[:, 0]
    assert residual.var() < 0.15 * y.var()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rho": -1.0}, "rho"),
        ({"rho": math.nan}, "rho"),
        ({"rho": 1.5, "loss": "cross-entropy"}, "rho"),
        ({"rho": 0.5, "loss": "hinge"}, "loss must be"),
    ],
)
def test_bad_losses_are_named(arguments, said):
    with pytest.raises(InvalidData, match=said):
        InterpolatingLoss(**arguments)


def test_bad_batches_are_named():
    f, targets = torch.zeros(2, 3), torch.zeros(2)
    loss = InterpolatingLoss(0.5)
    with pytest.raises(InvalidData, match="a row a bag"):
        loss(f, torch.zeros(3))
    with pytest.raises(InvalidData, match="somebody in each bag"):
        loss(f, targets, torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(InvalidData, match=r"\[0, 1\]"):
        InterpolatingLoss(0.5, loss="cross-entropy")(f, targets + 2)
