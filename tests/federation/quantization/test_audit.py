"""The auditor on reports: it certifies most of a true ε, and finds three mistakes that are easily made.

A false claim that is not caught fails the test with probability far below 1e-6: the margins are wide.
"""

import math

import numpy as np
import pytest

from sfumato import Claim, PureDP
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.federation.quantization import RQM, QuantizedMean
from sfumato.privacy import quantized

QUIET = RQM(1.0, 2.0, levels=4, keep_probability=0.3)  # ε = 1.05
WITH_A_CENTRE = RQM(1.0, 2.0, levels=5, keep_probability=0.3)  # numbers can lie on two sides of a level


def auditor(**change):
    sizes = {"n_train": 20_000, "n_select": 20_000, "n_test": 100_000, "random_state": 0, "progress": False}
    return Auditor(**{**sizes, "scores": ("histogram",), **change})


def encoded(mechanism):
    return lambda values, n, rng: mechanism.encode(np.tile(values, (n, 1))).astype(np.float64)


def test_an_audit_certifies_most_of_epsilon_and_no_more():
    """Done when 11 at 10^6 draws of a smaller ε (the study takes 10^7 of the paper's): within 15 %."""
    pair = (np.array([1.0]), np.array([-1.0]))
    report = auditor(n_test=1_000_000, alpha=1e-6).audit(encoded(QUIET), QUIET.claim, pairs=[pair])
    assert 0.85 * QUIET.epsilon_local() <= report.eps_lower <= QUIET.epsilon_local()


def shared_levels(values, n, rng):
    """The twin that keeps one set of levels for all coordinates of a client."""
    positions = WITH_A_CENTRE.positions(np.tile(values, (n, 1)))
    m = WITH_A_CENTRE.levels
    kept = np.column_stack(
        (np.ones(n, bool), rng.random((n, m - 2)) < WITH_A_CENTRE.keep_probability, np.ones(n, bool))
    )
    place = np.arange(m)
    u = positions / 2**32
    below = kept[:, np.newaxis, :] & (place <= u[..., np.newaxis])
    a = m - 1 - below[..., ::-1].argmax(axis=-1)
    b = (kept[:, np.newaxis, :] & (place > u[..., np.newaxis])).argmax(axis=-1)
    return np.where(rng.random(u.shape) < (u - a) / (b - a), b, a).astype(np.float64)


def distinct(mechanism):
    """How many different reports a client sends."""

    def count(values, n, rng):
        reports = np.sort(mechanism(values, n, rng), axis=1)
        return 1.0 + (np.diff(reports, axis=1) > 0).sum(axis=1)

    return count


def test_one_set_of_levels_for_all_coordinates_is_caught():
    """Between two levels all coordinates fall on the same two: a third value among them shows that they differ."""
    d = 3
    claim = Claim(PureDP(d * WITH_A_CENTRE.epsilon_local()), unit="user", neighbours="replace-one", trust="local")
    pair = (np.full(d, 0.1), np.array([-1.0, 0.1, 1.0]))
    assert auditor().audit(distinct(encoded(WITH_A_CENTRE)), claim, pairs=[pair]).verdict != "violation"
    assert auditor().audit(distinct(shared_levels), claim, pairs=[pair]).verdict == "violation"


def test_geometric_numbers_that_start_at_zero_are_caught(monkeypatch):
    """Every report is then next to its number."""
    honest = quantized._dropped
    monkeypatch.setattr(quantized, "_dropped", lambda *a: np.maximum(honest(*a) - 1, 0))
    pair = (np.array([1.0]), np.array([-1.0]))
    mechanism = RQM(1.0, 1.0, levels=8, keep_probability=0.2)
    report = auditor().audit(encoded(mechanism), mechanism.claim, pairs=[pair])
    assert report.verdict == "violation"


@pytest.mark.parametrize("d", [16])
def test_a_coordinates_epsilon_is_not_the_vectors(d):
    """The paper's curves are of one coordinate."""
    mean = QuantizedMean(QUIET, d, "linf")
    up = np.ones(d)

    def total(values, n, rng):
        return mean.encode(np.tile(values, (n, 1))).sum(axis=1, dtype=np.float64)

    stated = Claim(PureDP(QUIET.epsilon_local()), unit="user", neighbours="replace-one", trust="local")
    composed = Claim(PureDP(d * QUIET.epsilon_local()), unit="user", neighbours="replace-one", trust="local")
    report = auditor(scores=("threshold",)).audit(total, stated, pairs=[(up, -up)])
    assert report.verdict == "violation"
    assert report.eps_lower > 3 * QUIET.epsilon_local()
    assert auditor(scores=("threshold",)).audit(total, composed, pairs=[(up, -up)]).verdict != "violation"
    assert report.eps_lower < math.log(100_000)
