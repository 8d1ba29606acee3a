"""Pictures of noisy and synthetic answers, and the one-way distributions that they are drawn from."""

import matplotlib as mpl
import numpy as np
import pytest
from small_tables import DOMAIN, all_families
from standing_still import StandingStill

from sfumato.errors import InvalidData
from sfumato.synthesis import halfspaces, marginals
from sfumato.synthesis.pictures import column_answers, plot_answers, plot_column, plot_pairs

mpl.use("Agg")
FRAME = DOMAIN.decode(DOMAIN.draw(5000, np.random.default_rng(2)))
FIT = StandingStill(None, rho=10.0, workload=marginals(DOMAIN, 2, resolutions=(2, 8)), n_synthetic=300).fit(
    FRAME, DOMAIN
)


@pytest.mark.parametrize(("name", "cells"), [("sex", 2), ("grade", 3), ("town", 3), ("age", 8), ("share", 8)])
def test_a_columns_noisy_distribution_is_near_the_true_one_and_sums_to_nearly_one(name, cells):
    """σ of each cell is below 0.003: a gap of 0.02 has a probability far below 1e-6."""
    noisy, deviation, synthetic = column_answers(FIT.measurements_, FIT.rows_, name)
    truth = marginals(DOMAIN, 1, columns=[name], resolutions=(8,)).counts(DOMAIN.encode(FRAME)) / 5000
    assert len(noisy) == cells
    assert np.abs(noisy - truth).max() < 0.02
    assert (deviation < 0.003).all()
    assert np.isclose(synthetic.sum(), 1)


def test_every_picture_shows_what_it_is_given():
    axes = plot_answers(FIT.measurements_, FIT.rows_)
    assert len(axes.lines[0].get_xdata()) == FIT.measurements_.workloads.n_cells
    field = plot_pairs(FIT.measurements_, FIT.rows_).images[0].get_array()
    assert np.isnan(field.filled(np.nan).diagonal()).all()
    assert np.isfinite(field.filled(np.nan)[np.triu_indices(5, 1)]).all()
    axes = plot_column(FIT.measurements_, FIT.rows_, "town")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Ur", "Uruk", "missing"]
    assert plot_column(FIT.measurements_, FIT.rows_, "age", ax=axes) is axes
    assert axes.get_xticklabels()[0].get_text() == "0"


def test_what_was_not_measured_is_not_drawn():
    fit = StandingStill(workload=halfspaces(DOMAIN, 2, random_state=0)).fit(FRAME, DOMAIN)
    with pytest.raises(InvalidData, match="no measured marginal"):
        plot_column(fit.measurements_, fit.rows_, "town")
    with pytest.raises(InvalidData, match="no pair"):
        plot_pairs(fit.measurements_, fit.rows_)
    plot_answers(fit.measurements_, fit.rows_)


def test_user_queries_are_drawn_among_the_answers():
    fit = StandingStill(workload=all_families()).fit(FRAME, DOMAIN)
    assert len(plot_answers(fit.measurements_, fit.rows_).lines[0].get_xdata()) == fit.measurements_.workloads.n_cells
