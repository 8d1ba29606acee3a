"""The log: durable, append-only, and a flipped bit shows."""

import pytest

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.shared_randomness import Header, Log, Record, read_records

HEADER = Header("a", "b", "g", "f", "5f" * 32, "log8", 4, 1e-3, 0.1, "sqrt", None)
RECORDS = [Record(0, {0: b"abcd", 3: b"efgh"}), Record(1, {}), Record(2, {1: b"ijkl"})]


@pytest.fixture
def path(tmp_path):
    log = Log(HEADER, tmp_path / "run.log")
    for record in RECORDS:
        log.append(record)
    return tmp_path / "run.log"


def test_records_come_back(path):
    assert Log.open(path).records == RECORDS
    assert Log(HEADER, path).header == HEADER
    assert Log.open(path).scalar_bytes == 12
    assert list(read_records(b"".join(r.to_bytes() for r in RECORDS))) == RECORDS


def test_a_crash_anywhere_loses_at_most_the_last_record(path):
    """Cut after every byte of the records, then gone on with."""
    whole = path.read_bytes()
    start = len((Log(HEADER, path.with_name("empty")), path.with_name("empty").read_bytes())[1])
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        log = Log(HEADER, path)
        assert log.records == RECORDS[: log.next_step]
        assert log.next_step < 3
        for record in RECORDS[log.next_step :]:
            log.append(record)
        assert path.read_bytes() == whole


def test_a_flipped_bit_is_an_error(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 4
        path.write_bytes(bytes(changed))
        try:
            found = Log(HEADER, path).records
        except InvalidData:
            continue
        # A length that is now too large looks like a record that a crash tore off: the rest is not believed.
        assert found == RECORDS[: len(found)]
        assert len(found) < 3


def test_another_run_a_gap_and_no_log_are_refused(path):
    with pytest.raises(InvalidData, match="another run: lr"):
        Log(Header(**{**HEADER.to_json(), "lr": 0.2}), path)
    with pytest.raises(ProtocolError, match="expects step 3, got 5"):
        Log(HEADER, path).append(Record(5, {}))
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(InvalidData, match="not a log"):
        Log.open(path)
    with pytest.raises(InvalidData, match="step 0"):
        Log(HEADER, path, first_step=3)


@pytest.mark.parametrize(
    "data",
    [b"x", Record(0, {1: b"ab"}).to_bytes()[:-1], b"\0" * 8 + b"\xff" * 4],
    ids=["short", "cut", "machines"],
)
def test_bytes_that_are_no_records_are_refused(data):
    with pytest.raises(ProtocolError):
        list(read_records(data))


def test_machines_out_of_order_are_refused():
    whole = Record(0, {0: b"a", 1: b"b"}).to_bytes()
    swapped = whole[:12] + whole[25:] + whole[12:25]
    double = whole[:12] + whole[12:25] * 2
    for data in (swapped, double):
        with pytest.raises(ProtocolError, match="sorted"):
            list(read_records(data))
