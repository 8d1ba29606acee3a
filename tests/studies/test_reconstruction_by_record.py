"""Whose bit is read: tenths by outlyingness, the ceiling of a network's own table, and peers that may be absent."""

import numpy as np
import pandas as pd
import pytest

from sfumato.attacks.reconstruction import BayesianNetwork, NearestRecord, NonPrivate, ReconstructionAttack
from sfumato.data.tabular import ACS, synthetic_census
from sfumato.studies.marginal_targets import MarginalSynthesizer
from sfumato.studies.reconstruction_by_record import PEER, anonymeter, by_tenth, read_each, sample_with_coins


@pytest.fixture(scope="module")
def people():
    return synthetic_census(2000, ACS, random_state=0)


def test_ordinary_people_are_read_like_others(people):
    attacks = {"linear": ReconstructionAttack(3)}
    found = read_each(people, "SEX", NonPrivate(random_state=0), attacks, rows=5000, seed=0, n=300)
    tenths = by_tenth(found, "linear")
    assert len(tenths) == 10
    assert np.mean(tenths[:5]) > 0.9
    assert found["outlying"].between(0, 15).all()
    assert len(found) <= 300


def test_tenths_go_from_ordinary_to_outlying():
    found = pd.DataFrame({"outlying": np.arange(100.0), "right": np.arange(100) >= 50})
    assert by_tenth(found, "right") == [0.0] * 5 + [1.0] * 5


def test_nobody_beats_the_exact_table_of_the_network(people):
    """A reader of the table that holds the secret is a ceiling: 300 bits, beaten by five deviations with 1e-6."""
    generator = BayesianNetwork(3, random_state=0)
    found = read_each(people, "SEX", generator, {"nearest": NearestRecord()}, rows=20_000, seed=0, n=300)
    assert (found["reader"][found["cell"] == 1] == 1).all()
    assert found["reader"].between(0.5, 1).all()
    assert found["nearest"].mean() <= found["reader"].mean() + 5 * 0.5 / np.sqrt(len(found))
    assert found["nearest"].mean() > 0.6


def test_coins_are_fair_and_the_rest_is_left_alone(people):
    sample = sample_with_coins(people, "SEX", 1000, np.random.default_rng(0))
    assert 400 < sample["SEX"].sum() < 600
    assert set(sample.columns) == set(people.columns)


def test_an_absent_peer_is_said_to_be_absent(people, monkeypatch):
    monkeypatch.delenv(PEER, raising=False)
    assert anonymeter(people, people, people, "SEX") is None


@pytest.mark.parametrize("about", [None, "b"])
def test_marginals_are_kept(about):
    pytest.importorskip("mbi", reason="mbi is not installed")
    rng = np.random.default_rng(0)
    a = rng.integers(2, size=500)
    frame = pd.DataFrame({"a": a, "b": np.where(rng.random(500) < 0.9, a, 1 - a), "c": rng.integers(3, size=500)})
    generator = MarginalSynthesizer(about, random_state=0).fit(frame)
    drawn = generator.sample(20_000)
    assert generator.misfit_ < 0.01
    assert abs((drawn["a"] == drawn["b"]).mean() - (frame["a"] == frame["b"]).mean()) < 0.03
