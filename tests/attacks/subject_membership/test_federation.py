import dataclasses

import numpy as np
import pytest

from sfumato.attacks.subject_membership import Federation, FederationConfig, make_federation, split_subjects
from sfumato.errors import InvalidData

SMALL = FederationConfig(subjects=40, records=6, dimension=5, silos=3)


def test_members_have_all_their_records_in_the_silos_and_others_none():
    federation = make_federation(SMALL, random_state=3)
    record = np.concatenate([silo.record for silo in federation.silos])
    subject = np.concatenate([silo.subject for silo in federation.silos])
    assert len(np.unique(record)) == len(record)
    assert np.array_equal(np.bincount(subject, minlength=40), np.where(federation.members, 6, 0))
    assert 5 < federation.members.sum() < 35


def test_the_records_of_a_member_are_those_that_exact_returns():
    federation = make_federation(SMALL, random_state=3)
    silo, exact = federation.silos[1], federation.exact(6)
    for x, y, s, r in zip(silo.x, silo.y, silo.subject, silo.record, strict=True):
        assert np.array_equal(exact[s][0][r % 6], x)
        assert exact[s][1][r % 6] == y


@pytest.mark.parametrize(("spread", "least", "most"), [("one", 1, 1), ("uniform", 2, 3), ("dirichlet", 1, 3)])
def test_subjects_are_spread_over_silos(spread, least, most):
    federation = make_federation(dataclasses.replace(SMALL, spread=spread, records=30), random_state=1)
    inside = np.flatnonzero(federation.members)
    held = np.array([sum(s in silo.subject for silo in federation.silos) for s in inside])
    assert held.min() >= least
    assert held.max() == most


def test_fresh_samples_are_not_the_records_and_repeat_by_their_seed():
    federation = make_federation(SMALL, random_state=3)
    again = federation.draw(7, 4)
    assert np.array_equal(again[0], federation.draw(7, 4)[0])
    assert not np.array_equal(again[0], federation.draw(7, 4, random_state=1)[0])
    assert not np.isin(again[0], federation.exact(6)[7][0]).any()


def test_members_and_others_are_drawn_alike():
    """Two-sample z test of the first two moments; false alarm about 1e-6 each."""
    federation = make_federation(FederationConfig(subjects=2000, records=1, dimension=3), random_state=5)
    x = np.stack([x[0] for x, _ in federation.exact(1).values()])
    for values in (x, x**2):
        inside, outside = values[federation.members], values[~federation.members]
        error = np.sqrt(inside.var(axis=0) / len(inside) + outside.var(axis=0) / len(outside))
        assert (np.abs(inside.mean(axis=0) - outside.mean(axis=0)) < 5 * error).all()


def test_without_a_part_of_their_own_equal_records_have_equal_labels():
    federation = make_federation(dataclasses.replace(SMALL, memorable=0.0), random_state=2)
    people = federation._population
    x = people.means[:1]
    first = people.records(x, people.tastes[:1], 50, np.random.default_rng(1))[1]
    other = people.records(x, people.tastes[1:2], 50, np.random.default_rng(1))[1]
    assert np.array_equal(first, other)


def test_known_subjects_are_of_both_kinds_and_never_scored():
    members = np.arange(50) % 5 == 0
    known, others = split_subjects(members, 8, random_state=4)
    assert members[known].sum() == 4
    assert np.array_equal(np.sort(np.concatenate([known, others])), np.arange(50))
    with pytest.raises(InvalidData, match="known"):
        split_subjects(members, 22)


@pytest.mark.parametrize(
    "change",
    [{"subjects": 3}, {"records": 0}, {"silos": True}, {"separation": np.nan}, {"spread": "all"}, {"classes": 1}],
    ids=str,
)
def test_bad_configurations_are_refused(change):
    with pytest.raises(InvalidData, match=next(iter(change))):
        FederationConfig(**change)


def damaged(name, change):
    federation = make_federation(SMALL, random_state=3)
    first, *rest = federation.silos
    values = getattr(first, name).copy()
    values[0] = change
    return federation, (dataclasses.replace(first, **{name: values}), *rest)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("y", 10, "labels"),
        ("y", -1, "labels"),
        ("x", np.nan, "finite"),
        ("record", 239, "record numbers"),
        ("subject", 39, "record numbers"),
        ("record", 10**6, "record numbers"),
    ],
)
def test_silos_on_which_no_claim_could_rest_are_refused(name, change, message):
    federation, silos = damaged(name, change)
    with pytest.raises(InvalidData, match=message):
        Federation(SMALL, silos, federation.members, 3)


def test_a_record_in_two_silos_is_refused():
    federation = make_federation(SMALL, random_state=3)
    first, _, third = federation.silos
    with pytest.raises(InvalidData, match="twice"):
        Federation(SMALL, (first, first, third), federation.members, 3)
