"""Whatever the file: an exit code of ours, one line at most, and never a value of the data."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECRET = "SECRETVALUE"
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELL = st.sampled_from(
    [SECRET, f"-{SECRET}", f'"{SECRET}', f"{SECRET}\x00", "", "1", "0", "true", "5", "-3", "nan", "inf", "1e400", "0x1"]
) | st.text(max_size=5)
HEADER = st.sampled_from(
    ["days,died,arm", "days,died", "died,days,arm", "days,days,died", '"days,died', "\ufeffdays,died,arm"]
)


def check(sfumato_command, path, out):
    options = ("--duration", "days", "--event", "died", "--horizon", 100, "--epsilon", 1, "--bins", 3)
    outcome = sfumato_command("survival", path, *options, "--out", out)
    assert outcome.code in (0, 2), outcome.text
    assert "SECRET" not in outcome.text
    if outcome.code == 2:
        assert re.fullmatch(r"error: [^\n]+\n", outcome.err), outcome.err
        assert "internal error" not in outcome.err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(content=st.binary(max_size=200))
@BOUNDED
def test_arbitrary_bytes(sfumato_command, tmp_path, suffix, content):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    check(sfumato_command, path, tmp_path / "out")


@given(
    header=HEADER, rows=st.lists(st.lists(CELL, max_size=5), max_size=6), newline=st.sampled_from(["\n", "\r\n", "\r"])
)
@BOUNDED
def test_almost_csv(sfumato_command, tmp_path, header, rows, newline):
    path = tmp_path / "table.csv"
    text = newline.join([header, *(",".join(row) for row in rows)])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(sfumato_command, path, tmp_path / "out")
