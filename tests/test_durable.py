"""Files in one move: whole after a crash, private if they should be, and no draft stays."""

import os
import stat

import pytest

from sfumato.durable import write_durably


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path):
    path = tmp_path / "state"
    for content in (b"first", b"second"):
        write_durably(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_a_crash_leaves_the_older_one_and_its_draft_does_not_lend_its_permissions(tmp_path):
    path = tmp_path / "state"
    write_durably(path, lambda file: file.write(b"older"))

    def torn(file):
        file.write(b"half")
        raise OSError("crash")

    with pytest.raises(OSError, match="crash"):
        write_durably(path, torn)
    assert path.read_bytes() == b"older"
    write_durably(path, lambda file: file.write(b"newer"), mode=0o600)
    assert path.read_bytes() == b"newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_content_and_name_are_synced_in_this_order(tmp_path, monkeypatch):
    done = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda at: (done.append(stat.S_ISDIR(os.fstat(at).st_mode)), sync(at)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("move"), move(*paths)))
    write_durably(tmp_path / "state", lambda file: file.write(b"x"))
    assert done == [False, "move", True]
