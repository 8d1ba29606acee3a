"""Peers that need a Python of their own: absent, they say why; present, they return rows of the domain."""

import os
import sys

import numpy as np
import pytest

from sfumato.errors import InvalidData
from sfumato.studies.synthesis_baselines import published_behaviour
from sfumato.studies.synthesis_peers import SMARTNOISE, peer_rows
from sfumato.synthesis import Column, Domain

DOMAIN = Domain(
    (Column.categorical("a", [0, 1]), Column.categorical("b", list("xyz")), Column.numeric("n", 0, 9, integer=True))
)
BUDGET = {"epsilon": 5.0, "delta": 1e-6, "n_synthetic": 500}


def rows():
    return DOMAIN.draw(500, np.random.default_rng(0))


def test_without_an_interpreter_the_variable_is_named(monkeypatch):
    monkeypatch.delenv(SMARTNOISE, raising=False)
    found = peer_rows("MST", rows(), DOMAIN, **BUDGET)
    assert found.rows is None
    assert SMARTNOISE in found.reason


def test_an_interpreter_without_the_package_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv(SMARTNOISE, sys.executable)
    found = peer_rows("AIM", rows(), DOMAIN, **BUDGET)
    assert found.rows is None
    assert "No module named" in found.reason


def test_a_peer_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setenv(SMARTNOISE, sys.executable)
    assert "TimeoutExpired" in peer_rows("AIM", rows(), DOMAIN, timeout=1e-3, **BUDGET).reason


def test_an_unknown_peer_is_refused():
    with pytest.raises(InvalidData, match="MST or AIM"):
        peer_rows("PGM", rows(), DOMAIN, **BUDGET)


@pytest.mark.skipif(not os.environ.get(SMARTNOISE), reason=f"{SMARTNOISE} names no interpreter")
def test_mst_returns_rows_of_the_domain():
    found = peer_rows("MST", rows(), DOMAIN, bins=4, **BUDGET)
    assert not found.reason
    assert found.rows.shape == (500, 3)
    assert found.versions["smartnoise-synth"] == "1.0.8"
    DOMAIN.encode(DOMAIN.decode(found.rows))


def test_the_baselines_behave_as_their_papers_say():
    rows = list(published_behaviour(seed=0))
    assert len(rows) == 6
    assert [row.what for row in rows if not row.holds] == []
