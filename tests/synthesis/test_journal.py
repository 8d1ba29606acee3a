"""The journal: what was paid for is known after any crash, and nothing is ever paid for twice."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sfumato.errors import InvalidData
from sfumato.synthesis.journal import opened

IDENTITY = {"rho": 1.0}


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path):
    path = tmp_path / "journal"
    with opened(path, IDENTITY) as journal:
        journal.start(0)
        journal.measured(0, np.array([3, 1]), np.array([-2, 7, 10**12]))
        journal.start(1)
        journal.start(2)
        journal.refused(2)
    with opened(path, IDENTITY) as journal:
        assert [journal.started(number) for number in range(4)] == [True, True, False, False]
        which, counts = journal.result(0)
        assert which.tolist() == [3, 1]
        assert counts.tolist() == [-2, 7, 10**12]
        assert journal.result(1) is None


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_line_that_a_crash_cut_short_counts_as_not_written(tmp_path, cut):
    path = tmp_path / "journal"
    with opened(path, IDENTITY) as journal:
        journal.start(0)
        journal.measured(0, np.array([0]), np.arange(5))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with opened(path, IDENTITY) as journal:
        assert journal.started(0)
        assert journal.result(0) is None
        journal.measured(0, np.array([0]), np.arange(5))
    assert path.read_bytes() == whole


def test_a_journal_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "journal"
    with opened(path, IDENTITY):
        pass
    with pytest.raises(InvalidData, match="not of this fit"), opened(path, {"rho": 2.0}):
        pass


@pytest.mark.parametrize("text", ["no journal\n", "[]\n", '"x"\n', '{"format": "other"}\n'])
def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(InvalidData, match="journal"), opened(path, IDENTITY):
        pass
    assert path.read_text() == text


def test_only_its_owner_may_read_it_and_its_folder_must_be_there(tmp_path):
    with opened(tmp_path / "journal", IDENTITY):
        pass
    assert os.stat(tmp_path / "journal").st_mode & 0o077 == 0
    with pytest.raises(InvalidData, match="no folder"), opened(tmp_path / "nowhere" / "journal", IDENTITY):
        pass


def test_two_processes_cannot_share_one(tmp_path):
    path = tmp_path / "journal"
    with opened(path, IDENTITY), pytest.raises(InvalidData, match="in use"), opened(path, IDENTITY):
        pass


def test_killed_at_any_instant_it_never_forgets_a_start(tmp_path):
    """The writer says what it has written; after kill -9 every start that was said is there."""
    script = textwrap.dedent(
        """
        import sys, numpy as np
        from sfumato.synthesis.journal import opened
        with opened(sys.argv[1], {"rho": 1.0}) as journal:
            for number in range(10**6):
                journal.start(number)
                print(number, flush=True)
                journal.measured(number, np.arange(3), np.arange(50))
        """
    )
    path = tmp_path / "journal"
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    said = [int(writer.stdout.readline()) for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.communicate()[0].splitlines()]
    with opened(path, IDENTITY) as journal:
        assert all(journal.started(number) for number in said)
        assert all(journal.result(number) is not None for number in said[:-1])


def test_it_holds_json_lines_and_nothing_else(tmp_path):
    with opened(tmp_path / "journal", IDENTITY) as journal:
        journal.start(0)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"format": "sfumato.synthesis/1", "rho": 1.0},
        {"round": 0, "state": "started"},
    ]
