"""Searches by gradient: RAP, RAP++ and GEM; each is first made to show what its paper shows, at a small scale."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from sfumato.errors import InvalidData
from sfumato.synthesis import Column, Domain, Measurements, halfspaces, marginals, prefixes, queries
from sfumato.synthesis.generator import GenerativeNetworkSynthesizer
from sfumato.synthesis.relaxed import RelaxedSynthesizer
from sfumato.synthesis.relaxed.answers import Answers
from sfumato.synthesis.relaxed.layout import Layout, RelaxedRows

DOMAIN = Domain(
    (
        Column.categorical("colour", ["r", "g", "b"]),
        Column.categorical("flag", [0, 1]),
        Column.ordinal("grade", list("abcd")),
        Column.numeric("x", 0, 1),
        Column.numeric("y", -1, 1),
    )
)
N = 4000
MARGINALS = marginals(DOMAIN, resolutions=(4, 8))
MIXED = (
    MARGINALS
    + marginals(DOMAIN, 1, resolutions=(3,))
    + marginals(DOMAIN, 3, resolutions=(5,))
    + halfspaces(DOMAIN, 12, random_state=0)
    + halfspaces(DOMAIN, 3, targets=["grade"], random_state=1)
    + prefixes(DOMAIN, 12, k=3, random_state=0)
)
RAP = RelaxedSynthesizer(method="rap", relaxed_rows=100, n_synthetic=20_000, iterations=150)
RAPPP = RelaxedSynthesizer(relaxed_rows=100, n_synthetic=20_000, iterations=300)
GEM = GenerativeNetworkSynthesizer(network_rows=100, hidden=(64, 64), noise=32, n_synthetic=20_000, learning_rate=5e-3)
SEARCHES = pytest.mark.parametrize("search", [RAP, RAPPP, GEM], ids=["rap", "rap++", "gem"])


def table(seed=0):
    """Columns that hang together, so that independent columns would be far off."""
    random = np.random.default_rng(seed)
    x = random.beta(2, 5, N)
    flag = (x + random.normal(0, 0.15, N) > 0.3).astype(int)
    colour = np.where(flag == 1, random.choice(3, N, p=[0.7, 0.2, 0.1]), random.choice(3, N, p=[0.1, 0.2, 0.7]))
    grade = np.minimum((x * 5).astype(int), 3)
    y = np.clip(np.where(colour == 0, 0.5, -0.5) + random.normal(0, 0.2, N), -1, 1)
    return pd.DataFrame(
        {
            "colour": np.array(["r", "g", "b"])[colour],
            "flag": flag,
            "grade": np.array(list("abcd"))[grade],
            "x": x,
            "y": y,
        }
    )


ROWS = DOMAIN.encode(table())


def fresh(search, **change):
    return search.__class__(**{**search.get_params(), **change})


def exact(workloads):
    """Measurements without noise, built by hand."""
    answers = workloads.counts(ROWS) / N
    return Measurements(workloads, np.arange(len(workloads)), answers, np.zeros_like(answers), N)


def searched(search, workloads, found=None, seed=0):
    search._check_search(workloads)
    start = DOMAIN.draw(search.n_synthetic, np.random.default_rng(seed))
    return search._search(found or exact(workloads), start, np.random.default_rng(seed), last=True)


def gaps(workloads, rows):
    return np.abs(workloads.counts(rows) / len(rows) - workloads.counts(ROWS) / N)


def independent(seed=0):
    random = np.random.default_rng(seed)
    return np.column_stack([random.permutation(column) for column in ROWS.T])


def hard(layout, rows):
    """Rows of the domain as relaxed rows that leave nothing to chance."""
    blocks, values = {}, {}
    for column, width in enumerate(layout.widths):
        if layout.is_value(column):
            values[column] = torch.from_numpy(rows[:, column].astype(np.float32))
        else:
            edges = layout.edges.get(column)
            codes = rows[:, column].astype(int)
            if edges is not None:
                codes = np.minimum(np.searchsorted(edges, rows[:, column], side="right"), width) - 1
            blocks[column] = torch.eye(width)[codes]
    return RelaxedRows(blocks, values)


def test_rows_of_the_domain_answer_as_they_do_unrelaxed():
    found = Answers(Layout.of(DOMAIN, MIXED, "values", 32), MIXED)
    answers = found(hard(Layout.of(DOMAIN, MIXED, "values", 32), ROWS)).numpy()
    np.testing.assert_allclose(answers, MIXED.counts(ROWS) / N, atol=1e-6)


def test_sigmoids_become_thresholds_as_they_grow_steep():
    layout = Layout.of(DOMAIN, MIXED, "values", 32)
    relaxed, found = hard(layout, ROWS), Answers(layout, MIXED)
    distances = [float(torch.max(torch.abs(found(relaxed, t) - found(relaxed)))) for t in (1.0, 16.0, 256.0, 65536.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1
    assert distances[-1] < 0.005


def test_bins_answer_marginals_of_every_resolution_exactly():
    both = MARGINALS + marginals(DOMAIN, 3, resolutions=(3, 5))
    layout = Layout.of(DOMAIN, both, "bins", 32)
    np.testing.assert_allclose(Answers(layout, both)(hard(layout, ROWS)).numpy(), both.counts(ROWS) / N, atol=1e-6)


@pytest.mark.parametrize("numbers", ["bins", "values"])
def test_answers_are_those_expected_of_randomised_rounding(numbers):
    """Rows drawn from soft rows of independent cells; half-spaces of bins are near, since a sum is not quite normal."""
    exactly = MARGINALS + prefixes(DOMAIN, 12, random_state=0)
    near = halfspaces(DOMAIN, 12, random_state=0)
    for workloads, tolerance in ((exactly, 0.005), (near, 0.03)):
        layout = Layout.of(DOMAIN, MIXED, numbers, 32)
        relaxed = layout.relax(layout.draw(50, torch.Generator().manual_seed(0)))
        rows = layout.round(relaxed, 200_000, np.random.default_rng(0))
        answers = Answers(layout, workloads)(relaxed).numpy()
        np.testing.assert_allclose(workloads.counts(rows) / len(rows), answers, atol=tolerance)


def test_rounding_keeps_each_relaxed_row_to_its_probabilities():
    layout = Layout.of(DOMAIN, MARGINALS, "bins", 32)
    relaxed = layout.relax(layout.draw(10, torch.Generator().manual_seed(0)))
    rows = layout.round(relaxed, 1000, np.random.default_rng(0))
    shares = (rows[:, :1] == np.arange(3)).reshape(100, 10, 3).mean(axis=0)
    np.testing.assert_allclose(shares, relaxed.blocks[0].numpy(), atol=0.021)  # 100 strata: 2 of them may be cut


@SEARCHES
def test_exact_answers_are_met_down_to_the_grain_of_the_rows(search):
    """The strength of a search: nothing but rounding is left, far below what independent columns miss."""
    missed = gaps(MARGINALS, searched(fresh(search), MARGINALS))
    baseline = gaps(MARGINALS, independent())
    assert missed.max() < 0.012 < 0.1 < baseline.max()
    assert missed.mean() < 0.1 * baseline.mean()


def test_rap_fits_marginals_to_nearly_nothing():
    """Aydöre et al. 2021: the projection alone, before it is rounded, is not what limits RAP."""
    search = fresh(RAP, iterations=300, relaxed_rows=300)
    searched(search, MARGINALS)
    answers = Answers(search._layout, MARGINALS)(search._layout.relax(search._free)).numpy()
    assert np.abs(answers - exact(MARGINALS).answers).max() < 0.002


def test_annealed_thresholds_beat_bins():
    """Vietri et al. 2022: RAP++ answers half-spaces that RAP's bins blur, and prefixes too."""
    workloads = halfspaces(DOMAIN, 60, random_state=3) + prefixes(DOMAIN, 60, random_state=3)
    values = gaps(workloads, searched(fresh(RAPPP), workloads))
    bins = gaps(workloads, searched(fresh(RAP, bins=8), workloads))
    assert values.mean() < 0.7 * bins.mean()
    assert values.max() < bins.max()


def test_annealing_beats_a_sigmoid_that_stays_as_it_is():
    """Vietri et al. 2022, on why sigmoids must grow steep: soft ones fit answers that no row can give."""
    workloads = halfspaces(DOMAIN, 60, random_state=3)
    annealed = gaps(workloads, searched(fresh(RAPPP), workloads))
    for temperature in (2.0, 2048.0):
        fixed = gaps(workloads, searched(fresh(RAPPP, temperatures=(temperature,)), workloads))
        assert annealed.mean() < 0.7 * fixed.mean()


@SEARCHES
def test_error_falls_with_epsilon(search):
    missed = []
    for epsilon in (0.05, 1.0, 100.0):
        small = {"iterations": 100, "workload": MARGINALS, "random_state": 0}
        fitted = fresh(search, epsilon=epsilon, **small).fit(table(), DOMAIN)
        missed.append(gaps(MARGINALS, fitted.rows_).mean())
    assert missed == sorted(missed, reverse=True)
    assert missed[2] < 0.2 * missed[0]


@SEARCHES
def test_error_falls_with_rounds_while_there_is_budget(search):
    missed = []
    for rounds in (1, 6):
        change = {"rho": 100.0, "epsilon": None, "strategy": "adaptive", "rounds": rounds, "per_round": 2}
        small = {"n_synthetic": 4000, "iterations": 50, "workload": MARGINALS, "random_state": 0}
        fitted = fresh(search, **change, **small).fit(table(), DOMAIN)
        missed.append(gaps(MARGINALS, fitted.rows_).max())
        assert len(fitted.history_) == rounds
    assert missed[1] < 0.6 * missed[0]


def test_the_generator_follows_the_papers_threshold():
    """Liu, Vietri and Wu 2021: a round ends when no gap is above half of the average of the largest ones."""
    search = fresh(GEM, loss="threshold", iterations=400)
    searched(search, MARGINALS)
    with torch.no_grad():
        answers = Answers(search._layout, MARGINALS)(search._layout.relax(search._network())).numpy()
    assert np.abs(answers - exact(MARGINALS).answers).max() < search._largest / 2


@SEARCHES
def test_the_same_state_and_answers_give_the_same_rows(search):
    first, second = (searched(fresh(search, iterations=20), MARGINALS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@SEARCHES
def test_rows_lie_in_the_domain(search):
    rows = searched(fresh(search, iterations=20, n_synthetic=777), MIXED)
    assert rows.shape == (777, len(DOMAIN))
    DOMAIN.encode(DOMAIN.decode(rows))  # raises if they do not


@SEARCHES
def test_a_second_fit_begins_anew(search):
    small = fresh(search, iterations=20, workload=MARGINALS, random_state=0, noise_seed=0, n_synthetic=1000)
    np.testing.assert_array_equal(small.fit(table(), DOMAIN).rows_.copy(), small.fit(table(), DOMAIN).rows_)


@SEARCHES
def test_functions_cannot_be_relaxed_and_are_refused_by_name(search):
    def bright_and_rich(frame):
        return (frame["x"] > 0.5).to_numpy()[:, None]

    asked = fresh(search, workload=queries(DOMAIN, bright_and_rich, [[0]]))
    with pytest.raises(InvalidData, match="bright_and_rich"):
        asked.fit(table(), DOMAIN)


@pytest.mark.parametrize(
    ("search", "wrong"),
    [
        (RAP, {"method": "rapp"}),
        (RAP, {"relaxed_rows": 0}),
        (RAP, {"learning_rate": 0.0}),
        (RAP, {"temperatures": ()}),
        (RAP, {"temperatures": (1.0, float("inf"))}),
        (GEM, {"loss": "hinge"}),
        (GEM, {"hidden": (64, 0)}),
        (GEM, {"network_rows": True}),
        (GEM, {"learning_rate": float("nan")}),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_is_spent(search, wrong):
    with pytest.raises(InvalidData, match=next(iter(wrong))):
        fresh(search, **wrong).fit(table(), DOMAIN)


def test_without_torch_the_extra_is_named():
    code = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from sfumato.errors import MissingExtra
for package, name in (("relaxed", "RelaxedSynthesizer"), ("generator", "GenerativeNetworkSynthesizer")):
    module = __import__(f"sfumato.synthesis.{package}", fromlist=["x"])
    try:
        getattr(module, name)
    except MissingExtra as error:
        print(error.extra)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["train", "train"]
