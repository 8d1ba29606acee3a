"""Workloads: one row, one cell; counts that add up; half-open bins that tile; queries that break the rule refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import DOMAIN, all_families, old_or_young, tables

from sfumato.errors import InvalidData, SensitivityError, WorkloadTooLarge
from sfumato.synthesis import Column, Domain, Workload, WorkloadSet, halfspaces, marginals, prefixes, queries
from sfumato.synthesis.workloads import Axis, HalfSpace

EVERY = all_families()


@given(tables(least=2), tables(least=1, most=1), st.integers(0, 29))
def test_replacing_a_row_moves_each_workload_by_root_two_and_each_cell_by_one(rows, other, place):
    changed = rows.copy()
    changed[place % len(rows)] = other[0]
    moved = EVERY.counts(changed) - EVERY.counts(rows)
    assert np.abs(moved).max() <= 1
    for start, stop in zip(EVERY.offsets[:-1], EVERY.offsets[1:], strict=True):
        assert (moved[start:stop] ** 2).sum() <= 2
    assert (moved**2).sum() <= 2 * len(EVERY)


@given(tables())
def test_counts_are_those_of_the_cells_and_of_rows_one_at_a_time(rows):
    cells = EVERY.cells(rows)
    counts = np.zeros(EVERY.n_cells, dtype=np.int64)
    for row in range(len(rows)):
        one = EVERY.cells(rows[row : row + 1])
        assert np.array_equal(one[0], cells[row])
        inside = one[0] >= 0
        counts[(EVERY.offsets[:-1] + one[0])[inside]] += 1
    assert np.array_equal(counts, EVERY.counts(rows))


@given(tables())
def test_a_marginal_is_a_partition(rows):
    workloads = marginals(DOMAIN, 3, resolutions=(7,))
    counts = workloads.counts(rows)
    assert np.add.reduceat(counts, workloads.offsets[:-1]).tolist() == [len(rows)] * len(workloads)


def test_a_pair_of_categories_is_counted_as_a_crosstab_would():
    rows = DOMAIN.draw(500, np.random.default_rng(1))
    workloads = marginals(DOMAIN, 2, columns=["sex", "grade"])
    expected = [((rows[:, 0] == a) & (rows[:, 1] == b)).sum() for a in range(2) for b in range(3)]
    assert workloads.counts(rows).tolist() == expected


def test_bins_are_half_open_and_the_last_one_is_closed():
    domain = Domain((Column.numeric("x", 0, 1),))
    workloads = marginals(domain, 1, resolutions=(4,))
    at = np.array([[0.0], [0.25], [np.nextafter(0.25, 0)], [0.75], [1.0]])
    assert workloads.cells(at)[:, 0].tolist() == [0, 1, 0, 3, 3]


def test_each_resolution_is_a_workload_of_its_own_and_categories_have_none():
    workloads = marginals(DOMAIN, 2, resolutions=(2, 4, 8))
    numeric = [w for w in workloads if any(axis.binned for axis in w.axes)]
    assert len(numeric) == 3 * 7  # pairs with age or share, three times
    assert len(workloads) - len(numeric) == 3
    assert {axis.cells for w in numeric for axis in w.axes if axis.binned} == {2, 4, 8}


def test_half_spaces_and_prefixes_count_what_their_conditions_say():
    rows = DOMAIN.draw(300, np.random.default_rng(2))
    for workloads in (halfspaces(DOMAIN, 5, random_state=3), prefixes(DOMAIN, 5, targets=["grade"], random_state=3)):
        for place, workload in enumerate(workloads):
            values = rows[:, list(workload.gate.columns)]
            if isinstance(workload.gate, HalfSpace):
                inside = values @ np.array(workload.gate.coefficients) > workload.gate.bias
            else:
                inside = (values < np.array(workload.gate.thresholds)).all(axis=1)
            (axis,) = workload.axes
            expected = np.bincount(rows[inside, axis.column].astype(int), minlength=axis.cells)
            start = workloads.offsets[place]
            assert workloads.counts(rows)[start : start + axis.cells].tolist() == expected.tolist()


def test_random_queries_are_the_same_for_the_same_seed():
    assert halfspaces(DOMAIN, 4, random_state=1).workloads == halfspaces(DOMAIN, 4, random_state=1).workloads
    assert prefixes(DOMAIN, 4, random_state=1).workloads != prefixes(DOMAIN, 4, random_state=2).workloads


def test_a_domain_without_binary_columns_gets_gates_alone():
    domain = Domain((Column.numeric("x", 0, 1), Column.ordinal("g", [1, 2, 3])))
    assert [w.size for w in halfspaces(domain, 2, random_state=0)] == [1, 1]


@given(tables())
def test_user_queries_are_answered_on_decoded_rows(rows):
    workloads = queries(DOMAIN, old_or_young, [[0, 1]])
    assert workloads.counts(rows).tolist() == old_or_young(DOMAIN.decode(rows)).sum(axis=0).tolist()


def test_of_two_hits_in_one_workload_the_first_counts():
    """On a row that the trial did not meet: the rule of one cell does not rest on the function."""
    workloads = queries(DOMAIN, lambda f: np.stack([f["age"] == 7, (f["age"] == 7) & (f["share"] == 1)], 1), [[0, 1]])
    row = DOMAIN.encode(DOMAIN.decode(np.array([[0, 0, 0.075, 1.0, 0]])))
    assert workloads.counts(row).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("function", "partition", "words"),
    [
        (lambda f: np.stack([f["age"] > 20, f["age"] > 60], 1), [[0, 1]], "more than one"),
        (lambda f: (f["age"] > f["age"].mean()).to_numpy()[:, None], [[0]], "by itself"),
        (lambda f: np.full((len(f), 1), len(f) > 200), [[0]], "by itself"),
        (lambda f: (f["age"] / 99).to_numpy()[:, None], [[0]], "zeros and ones"),
        (lambda f: (f["age"] > 20).to_numpy(), [[0]], "shape"),
        (lambda f: f[["sex"]].to_numpy(), [[0]], "zeros and ones"),
    ],
)
def test_queries_that_one_row_moves_too_far_are_refused(function, partition, words):
    with pytest.raises(SensitivityError, match=words):
        queries(DOMAIN, function, partition, random_state=0)


def test_two_overlapping_queries_pass_as_two_workloads():
    both = queries(DOMAIN, lambda f: np.stack([f["age"] > 20, f["age"] > 60], 1), [[0], [1]])
    assert len(both) == 2


def test_an_error_of_a_query_on_the_table_does_not_show_its_text():
    def poisoned(frame):
        if (frame["age"] == 77).any() and len(frame) == 1:
            raise ValueError("77 years old")
        return (frame["age"] > 50).to_numpy()[:, None]

    workloads = queries(DOMAIN, poisoned, [[0]], random_state=0)
    row = np.array([[0, 0, 0.775, 0.5, 0]])
    with pytest.raises(InvalidData, match="failed on a row") as refused:
        workloads.counts(row)
    assert "77" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("partition", [[[0]], [[0, 0]], [[0], [2]], [[]], [[0, -1]], [[0.0, 1]]])
def test_partitions_name_each_query_once(partition):
    with pytest.raises(InvalidData):
        queries(DOMAIN, old_or_young, partition)


def test_too_many_cells_are_refused_before_anything_is_built():
    wide = Domain(tuple(Column.categorical(f"c{k}", range(300)) for k in range(3)))
    with pytest.raises(WorkloadTooLarge):
        marginals(wide, 3)
    with pytest.raises(WorkloadTooLarge):
        marginals(wide, 2, max_cells=100_000)
    assert len(marginals(wide, 2)) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: marginals(DOMAIN, 0),
        lambda: marginals(DOMAIN, 6),
        lambda: marginals(DOMAIN, 2, resolutions=()),
        lambda: marginals(DOMAIN, 2, resolutions=(1,)),
        lambda: marginals(DOMAIN, 2, columns=["sex", "height"]),
        lambda: marginals(DOMAIN, 1, columns="sex"),
        lambda: halfspaces(DOMAIN, 0),
        lambda: halfspaces(DOMAIN, 3, targets=["age"]),
        lambda: halfspaces(Domain(DOMAIN.columns[:2]), 3),
        lambda: prefixes(DOMAIN, 3, k=0),
        lambda: WorkloadSet(DOMAIN, []),
        lambda: WorkloadSet(DOMAIN, [Workload("marginals", (Axis(9, 2, False),))]),
        lambda: WorkloadSet(DOMAIN, [Workload("marginals", (Axis(0, 3, False),))]),
        lambda: WorkloadSet(DOMAIN, [Workload("marginals", (Axis(2, 3, False),))]),
        lambda: EVERY + marginals(Domain(DOMAIN.columns[:2])),
    ],
)
def test_workloads_that_do_not_fit_the_domain_are_refused(make):
    with pytest.raises(InvalidData):
        make()


def test_a_subset_keeps_the_order_given():
    part = EVERY.subset([4, 0])
    rows = DOMAIN.draw(40, np.random.default_rng(0))
    counts = EVERY.counts(rows)
    expected = [*counts[EVERY.offsets[4] : EVERY.offsets[5]], *counts[: EVERY.offsets[1]]]
    assert part.counts(rows).tolist() == expected
