"""One person's part in a release: bounded as declared, exact, and the same whoever else is there."""

import numpy as np
import pytest
from coupling import coupled_distance
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, SimilarityClassifier, tree
from sfumato.statistics.similarity.features import LARGEST_L1, LARGEST_SQUARE, ONE, draw_features
from sfumato.statistics.similarity.kernels import kernel
from sfumato.statistics.similarity.projection import draw_directions
from sfumato.statistics.similarity.rows import BALL, BOX, in_ball, in_box, largest_l1

KERNELS = ("gaussian", "laplacian", "exponential", "inverse", "inverse_quadratic")
BUDGETS = ({"epsilon": 1.0}, {"rho": 0.5}, {"epsilon": 1.0, "delta": 1e-6})
ESTIMATORS = [
    *(PrivateDistanceSum("l1", low=-1, high=1, levels=5, **b) for b in BUDGETS),
    *(PrivateDistanceSum("l2", norm_bound=1.0, levels=4, directions=5, random_state=0, **b) for b in BUDGETS),
    *(PrivateDistanceSum("sqeuclidean", norm_bound=1.0, **b) for b in BUDGETS),
    *(PrivateKDE(name, 0.5, n_features=9, random_state=0, **BUDGETS[i % 3]) for i, name in enumerate(KERNELS)),
    PrivateKDE("gaussian", 0.5, random_state=0, epsilon=1.0),
    PrivateKDE("exponential", 0.5, random_state=0, rho=0.5, n_features=4, project=2),
]

values = st.floats(-4, 4) | st.sampled_from([-1.0, 0.0, 1.0, 1e300, -1e300])
tables = st.lists(st.tuples(values, values, values), min_size=1, max_size=12).map(np.array)


@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: f"{getattr(e, 'metric', '')}{e.epsilon}{e.rho}")
@settings(max_examples=15, deadline=None)
@given(table=tables, new=st.tuples(values, values, values))
def test_one_person_moves_each_draw_by_its_declared_sensitivity_at_most(estimator, neighbours, table, new):
    estimator.set_params(neighbours=neighbours)
    other = table[1:] if neighbours == "add-remove" else np.vstack([new, table[1:]])
    assert coupled_distance(lambda X: estimator.fit(X), table, other, np.random.default_rng(0)) <= 1 + 1e-12


@pytest.mark.parametrize("method", ["kernel", "centroid"])
@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
@settings(max_examples=15, deadline=None)
@given(
    table=tables, new=st.tuples(values, values, values), labels=st.lists(st.integers(0, 2), min_size=13, max_size=13)
)
def test_so_does_a_classifier_also_when_a_label_changes(method, neighbours, table, new, labels):
    fitted = SimilarityClassifier(
        method, 1.0, classes=[0, 1, 2], norm_bound=1.0, neighbours=neighbours, n_features=5, random_state=0
    )
    y = np.array(labels[: len(table)])
    other = (table[1:], y[1:])
    if neighbours == "replace-one":
        other = (np.vstack([new, table[1:]]), np.array([labels[-1], *y[1:]]))
    assert coupled_distance(lambda d: fitted.fit(*d), (table, y), other, np.random.default_rng(0)) <= 1 + 1e-12


@settings(max_examples=60, deadline=None)
@given(table=tables)
def test_rows_stay_in_the_ball_and_the_box_in_whole_numbers(table):
    ball = in_ball(table, 1.0)
    assert (ball.astype(object) ** 2).sum(axis=1).max() <= BALL**2
    assert np.abs(ball).sum(axis=1).max() <= largest_l1(3)
    box = in_box(table, np.full(3, -1.0), np.full(3, 2.0))
    assert box.min() >= 0
    assert box.max() < BOX


def test_long_rows_in_many_columns_stay_in_the_ball():
    rows = np.random.default_rng(0).normal(size=(200, 700)) * np.geomspace(1e-3, 1e3, 200)[:, np.newaxis]
    assert (in_ball(rows, 1.0).astype(object) ** 2).sum(axis=1).max() <= BALL**2


@pytest.mark.parametrize(
    ("name", "columns", "project"), [("gaussian", 40, None), ("inverse", 3, None), ("gaussian", 90, 8)]
)
def test_a_person_adds_the_same_features_alone_and_in_a_crowd(name, columns, project):
    """A matrix product in floats would not: its rounding depends on how the rows beside it are blocked."""
    random = np.random.RandomState(0)
    drawn = draw_features(kernel(name), columns, 33, project, random)
    steps = drawn.steps(random.normal(size=(301, columns)) * 3, 0.7)
    alone = sum(drawn.total(row[np.newaxis]) for row in steps)
    assert (drawn.total(steps) == alone).all()
    assert (drawn.total(steps[::-1]) == alone).all()


def test_a_person_is_split_and_projected_the_same_alone_and_in_a_crowd():
    random = np.random.RandomState(0)
    cells = in_box(random.uniform(size=(300, 2)), np.zeros(2), np.ones(2))
    together = tree.split_people(cells, 6)
    alone = [tree.split_people(cell[np.newaxis], 6) for cell in cells]
    for level, ends in enumerate(together):
        assert (ends == sum(each[level] for each in alone)).all()
        assert (alone[0][level].sum(axis=(1, 2)) == BOX >> (level + 1)).all()
    directions, ball = draw_directions(30, 40, random), in_ball(random.normal(size=(99, 30)), 1.0).astype(float)
    assert (directions.project(ball) == np.vstack([directions.project(row[np.newaxis]) for row in ball])).all()
    assert (directions.steps**2).sum(axis=0).max() <= 2.0**40


def test_the_tables_norms_are_those_of_its_entries():
    assert ONE**2 <= LARGEST_SQUARE <= (ONE + 1) ** 2
    assert LARGEST_L1 <= 2**0.5 * (ONE + 1)


def test_levels_all_at_the_full_budget_are_refused(monkeypatch):
    """The mutant of the card: what each of L levels costs is ε/L, not ε."""
    from sfumato import ClaimViolated
    from sfumato.statistics.similarity.spending import Plan, Terms

    real = Terms.plan

    def greedy(self, parts, shares=None):
        plan = real(self, parts, shares)
        return Plan(plan.noise, plan.parts, tuple(self.bound.epsilon for _ in plan.parts))

    monkeypatch.setattr(Terms, "plan", greedy)
    with pytest.raises(ClaimViolated):
        PrivateDistanceSum("l1", 1.0, low=0, high=1, levels=3).fit([[0.5]])
