"""All engines decide the same, to the last bit: the reference, NumPy's and the compiled one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.synthesis import Column, Domain, WorkloadSet, halfspaces, marginals, prefixes, queries
from sfumato.synthesis.genetic import kernel
from sfumato.synthesis.genetic.compiled import Compiled
from sfumato.synthesis.genetic.objective import UNIT, residuals, squares, targets
from sfumato.synthesis.genetic.proposals import propose
from sfumato.synthesis.genetic.reference import Reference
from sfumato.synthesis.genetic.vectorised import Vectorised
from sfumato.synthesis.measuring import Measurements
from sfumato.synthesis.workloads import Axis, HalfSpace, Prefix, Workload

DOMAIN = Domain(
    (
        Column.categorical("kind", "abc"),
        Column.categorical("flag", [False, True]),
        Column.numeric("height", -1.0, 2.0),
        Column.numeric("count", 0, 9, integer=True),
    )
)


def older(frame):
    return np.column_stack([frame["count"] > 5, frame["height"] < 0, (frame["kind"] == "b") & (frame["count"] <= 5)])


FAMILIES = {
    "marginals": lambda seed: marginals(DOMAIN, 2, resolutions=(2, 5)) + marginals(DOMAIN, 1, resolutions=(3,)),
    "half-spaces": lambda seed: halfspaces(DOMAIN, 5, random_state=seed),
    "prefixes": lambda seed: prefixes(DOMAIN, 5, k=2, targets=["kind"], random_state=seed),
    "queries": lambda seed: queries(DOMAIN, older, [[0, 2], [1]], random_state=seed),
    # a gate that looks at columns that its workload, or another one of the same gate, also has an axis on
    "crossing": lambda seed: WorkloadSet(
        DOMAIN,
        [
            Workload("own", (Axis(2, 4, True), Axis(0, 3, False)), HalfSpace((0, 2, 0), (0.5, -1.0, -0.25), 0.1)),
            Workload("own", (Axis(1, 2, False),), HalfSpace((0, 2, 0), (0.5, -1.0, -0.25), 0.1)),
            Workload("own", (Axis(2, 3, True), Axis(1, 2, False)), Prefix((2, 3, 2), (0.7, 0.5, 0.4))),
            Workload("own", (), Prefix((0, 1), (1.5, 0.5))),
        ],
    ),
}


def engines(workloads):
    compilable = kernel.COMPILED and not any(workload.asked for workload in workloads)
    return (Reference, Vectorised, Compiled) if compilable else (Reference, Vectorised)


@settings(max_examples=20, deadline=None)
@given(
    families=st.sets(st.sampled_from(sorted(FAMILIES)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    mutations=st.integers(0, 3),
    crossovers=st.integers(1, 3),
    elite=st.integers(1, 4),
    one_by_one=st.booleans(),
)
def test_engines_accept_exactly_the_same_proposals(families, seed, n, mutations, crossovers, elite, one_by_one):
    parts = [FAMILIES[name](seed) for name in sorted(families)]
    workloads = sum(parts[1:], parts[0])
    random = np.random.default_rng(seed)
    rows = DOMAIN.draw(n, random)
    aimed = random.integers(0, n * UNIT + 1, workloads.n_cells)
    sizes = {"mutate": mutations, "cross": crossovers}
    proposals = propose(random, DOMAIN, n, 20, sizes, elite)
    size = 1 if one_by_one else mutations + crossovers
    found = [engine(workloads, aimed, rows, elite) for engine in engines(workloads)]
    for start in range(0, len(proposals.row), 10 * (mutations + crossovers)):
        part = proposals.part(start, start + 10 * (mutations + crossovers))
        moved = [engine.run(part, size) for engine in found]
        assert len(set(moved)) == 1
        for engine in found[1:]:
            np.testing.assert_array_equal(engine.rows, found[0].rows)
            np.testing.assert_array_equal(engine.residuals, found[0].residuals)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("size", [1, 20])
def test_a_longer_search_keeps_its_counts_and_its_objective(family, size):
    workloads = FAMILIES[family](3)
    random = np.random.default_rng(5)
    aimed = workloads.counts(DOMAIN.draw(400, random)) * UNIT // 4
    start = DOMAIN.draw(100, random)
    proposals = propose(random, DOMAIN, 100, 400, {"mutate": 10, "cross": 10}, 5)
    for kind in engines(workloads)[1:]:
        engine = kind(workloads, aimed, start, 5)
        before = squares(engine.residuals)
        moved = engine.run(proposals, size)
        np.testing.assert_array_equal(engine.residuals, residuals(workloads.counts(engine.rows), aimed))
        assert squares(engine.residuals) == pytest.approx(before + moved / UNIT)
        assert moved < 0
        np.testing.assert_array_equal(engine.rows, DOMAIN.settled(engine.rows))


def test_a_number_at_the_edge_of_a_half_space_falls_on_the_side_that_counting_gives_it():
    """Sums that rounding may put on either side of the bias are computed anew, in the order of counting."""
    domain = Domain((Column.numeric("a", 0, 1), Column.numeric("b", 0, 1), Column.numeric("c", 0, 1)))
    gate = HalfSpace((0, 1, 2), (0.1, 0.2, 0.3), 0.1 * 0.5 + 0.2 * 0.5 + 0.3 * 0.5)
    workloads = WorkloadSet(domain, [Workload("half-spaces", (), gate), Workload("marginals", (Axis(0, 2, True),))])
    random = np.random.default_rng(0)
    grid = np.array([0.0, 0.5, 1.0])
    rows = random.choice(grid, (50, 3))
    proposals = propose(random, domain, 50, 300, {"mutate": 2}, 1)
    proposals.value[:] = random.choice(grid, len(proposals.value))
    aimed = np.array([25, 20, 30]) * UNIT
    found = [engine(workloads, aimed, rows, 1) for engine in engines(workloads)]
    for engine in found:
        engine.run(proposals, 2)
        np.testing.assert_array_equal(engine.rows, found[0].rows)
        np.testing.assert_array_equal(engine.residuals, residuals(workloads.counts(engine.rows), aimed))


def test_mutations_are_uniform_in_each_column_and_crossovers_copy_with_noise_on_numbers_only():
    """Each frequency is off by six standard deviations with probability below 1e-8."""
    proposals = propose(np.random.default_rng(0), DOMAIN, 50, 20_000, {"mutate": 1, "cross": 1}, 3)
    mutated = proposals.source < 0
    assert mutated.sum() == 20_000
    assert set(proposals.source[~mutated]) == {0, 1, 2}
    values = [proposals.value[mutated & (proposals.column == column)] for column in range(4)]
    for column, expected in ((0, [0, 1, 2]), (1, [0, 1]), (3, (np.arange(10) + 0.5) / 10)):
        found, counts = np.unique(values[column], return_counts=True)
        np.testing.assert_array_equal(found, expected)
        share, n = 1 / len(expected), len(values[column])
        assert np.abs(counts / n - share).max() < 6 * (share * (1 - share) / n) ** 0.5
    assert abs(values[2].mean() - 0.5) < 6 / (12 * len(values[2])) ** 0.5
    noise = proposals.value[~mutated]
    numeric = proposals.column[~mutated] >= 2
    assert not noise[~numeric].any()
    assert abs(noise[numeric].std() - 1) < 0.1


def test_targets_are_the_answers_in_rows_to_a_sixtyfive_thousandth():
    workloads = marginals(DOMAIN, 1, columns=["flag"])
    found = Measurements(workloads, np.array([0]), np.array([0.3, 0.7]), np.array([0.01, 0.01]), 1000)
    np.testing.assert_allclose(targets(found, 200) / UNIT, [60, 140], atol=1 / UNIT)
