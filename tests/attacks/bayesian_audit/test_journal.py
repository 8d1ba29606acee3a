"""An audit that is interrupted goes on where it stopped, counts nothing twice, and trusts no other journal."""

import json

import numpy as np
import pytest

from sfumato import Claim, PureDP
from sfumato.attacks.bayesian_audit import Auditor, local_pairs, table_pairs, vector_pairs
from sfumato.attacks.mechanisms import Laplace, NoisyHistogram
from sfumato.errors import InvalidData

CLAIM = Claim(PureDP(1.0))


def auditor(**change):
    sizes = {"n_train": 2000, "n_select": 2000, "n_test": 200_000, "random_state": 7, "progress": False}
    return Auditor(**{**sizes, **change})


class Interrupted:
    """Stops the audit, as Ctrl-C would, after some calls for a whole chunk."""

    def __init__(self, calls):
        self.inner, self.left, self.chunks = Laplace(1.0), calls, 0

    def __call__(self, x, n, rng):
        if n == 25_000:
            self.left -= 1
            self.chunks += 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.inner(x, n, rng)


def test_an_interrupted_audit_goes_on(tmp_path):
    journal = tmp_path / "audit.jsonl"
    with pytest.raises(KeyboardInterrupt):
        auditor().audit(Interrupted(4), CLAIM, pairs=[(0, 1)], journal=journal)
    counted = [line for line in journal.read_text().splitlines() if "hits" in line]
    assert len(counted) == 3
    rest = Interrupted(99)
    report = auditor().audit(rest, CLAIM, pairs=[(0, 1)], journal=journal)
    assert rest.chunks == 16 - 3
    assert report.n == 200_000
    assert 0.9 < report.eps_lower <= 1.0
    again = Interrupted(99)
    assert auditor().audit(again, CLAIM, pairs=[(0, 1)], journal=journal).counts == report.counts
    assert again.chunks == 0


def test_a_line_that_was_cut_off_is_drawn_again(tmp_path):
    journal = tmp_path / "audit.jsonl"
    report = auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)], journal=journal)
    journal.write_text(journal.read_text()[:-9])
    again = auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)], journal=journal)
    assert again.counts != report.counts  # the last chunk has other randomness
    assert again.event == report.event
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_another_audits_journal_is_refused(tmp_path):
    journal = tmp_path / "audit.jsonl"
    auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)], journal=journal)
    with pytest.raises(InvalidData, match="another audit"):
        auditor().audit(Laplace(1.0), Claim(PureDP(2.0)), pairs=[(0, 1)], journal=journal)
    (tmp_path / "notes.txt").write_text("SECRET\n")
    with pytest.raises(InvalidData, match="cannot be read") as caught:
        auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)], journal=tmp_path / "notes.txt")
    assert "SECRET" not in str(caught.value)


def test_with_and_without_a_journal_the_same(tmp_path):
    a = auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)])
    b = auditor().audit(Laplace(1.0), CLAIM, pairs=[(0, 1)], journal=tmp_path / "j")
    assert a.counts == b.counts


def test_vector_patterns_are_neighbours_in_both_orders():
    pairs = vector_pairs(5)
    assert all(np.abs(a - b).max() == 1 for a, b in pairs)
    keys = {(tuple(a), tuple(b)) for a, b in pairs}
    assert keys == {(b, a) for a, b in keys}
    assert len(keys) == len(pairs)
    assert any((np.abs(a - b) == 1).all() and set(a - b) == {-1.0, 1.0} for a, b in pairs)
    one = vector_pairs(4, step=2, moves="one")
    assert all((a != b).sum() == 1 and np.abs(a - b).max() == 2 for a, b in one)


def test_patterns_find_what_one_pair_misses():
    naive = NoisyHistogram(0.5, naive=True)
    report = auditor(n_test=50_000).audit(naive, Claim(PureDP(0.5)), pairs=vector_pairs(3, moves="one"))
    assert report.verdict == "violation"


def test_local_pairs_are_all_pairs_of_a_small_domain():
    assert len(local_pairs(range(20))) == 380
    many = local_pairs(range(1000), random_state=0)
    assert len(many) == 380
    assert {0, 999} <= {a for a, _ in many}


def test_table_pairs_differ_by_one_row():
    import pandas as pd

    frame = pd.DataFrame({"age": [30, 40, 50], "ill": [0, 1, 0]})
    bounds = {"age": (0, 120), "ill": (0, 1)}
    for a, b in table_pairs(frame, bounds):
        assert abs(len(a) - len(b)) == 1
    for a, b in table_pairs(frame, bounds, "replace-one"):
        assert len(a) == len(b)
        assert (a.to_numpy() != b.to_numpy()).any(axis=1).sum() == 1
    assert any(len(a) == 0 for a, _ in table_pairs(frame, bounds))
    for bad in (frame.iloc[:0], frame[["age"]]):
        with pytest.raises(InvalidData, match="bounds"):
            table_pairs(bad, bounds)


@pytest.mark.parametrize(
    "bad", [lambda: vector_pairs(0), lambda: vector_pairs(2, moves="two"), lambda: local_pairs([1])]
)
def test_bad_requests_for_pairs(bad):
    with pytest.raises(InvalidData):
        bad()
