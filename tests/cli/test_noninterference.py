"""Where two tables get the same noisy counts, all that leaves sfumato is the same: nothing else depends on the data.

The noise is replaced by fixed counts, whatever the records; what differs between the two runs then came around it.
"""

import logging
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest

from sfumato.privacy.release import Release
from sfumato.statistics.survival import DPCumulativeIncidence, DPKaplanMeier, dp_logrank

COLUMNS = ("--duration", "days", "--event", "died", "--horizon", "700", "--epsilon", "1")


@pytest.fixture(autouse=True)
def same_noisy_counts(monkeypatch):
    def fixed(self, values, **_):
        shape = np.shape(values)
        return np.random.default_rng(len(shape)).integers(20, 40, shape)

    for draw in ("discrete_laplace", "discrete_gaussian"):
        monkeypatch.setattr(Release, draw, fixed)


def table(seed, n):
    rng = np.random.default_rng(seed)
    days, died = rng.exponential(200 * (seed + 1), n).round(3) + 0.001, rng.integers(0, 2, n)
    return pd.DataFrame({"days": days, "died": died, "arm": rng.choice(["a", "b"], n), "who": range(1000, 1000 + n)})


TABLES = [table(0, 300), table(5, 1111)]


def grouped(estimator, frame):
    return estimator.fit(frame["days"], frame["died"], groups=frame["arm"], group_labels=("a", "b"))


def from_frame(estimator, frame):
    columns = {"duration_col": "days", "event_col": "died", "group_col": "arm", "group_labels": ("a", "b")}
    return estimator.fit_frame(frame, **columns, person_col="who", max_records=2)


@pytest.mark.parametrize("fit", [grouped, from_frame])
@pytest.mark.parametrize("estimator", [DPKaplanMeier, DPCumulativeIncidence])
@pytest.mark.parametrize("n_bins", ["auto", 9])
def test_the_fitted_object_its_pickle_and_what_it_says(estimator, fit, n_bins, caplog):
    caplog.set_level(logging.DEBUG)
    seen = []
    for frame in TABLES:
        caplog.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            fitted = fit(estimator(1.0, horizon=700, n_bins=n_bins), frame)
        said = [str(w.message) for w in warned] + [r.getMessage() for r in caplog.records]
        seen.append(
            (pickle.dumps(fitted), repr(fitted), str(fitted.claim_), said, fitted.predict([10, 99.5]).to_json())
        )
    assert seen[0] == seen[1]


def test_the_log_rank_test_sees_the_noisy_counts_only():
    results = [dp_logrank(grouped(DPKaplanMeier(1.0, horizon=700), frame), random_state=0) for frame in TABLES]
    assert results[0] == results[1]


def test_the_files_and_words_of_the_command_line(sfumato_command, tmp_path, monkeypatch):
    written = []
    for i, frame in enumerate(TABLES):
        folder = tmp_path / str(i)
        folder.mkdir()
        frame.to_csv(folder / "trial.csv", index=False)
        monkeypatch.chdir(folder)
        grouping = ("--group", "arm", "--group-values", "a,b", "--person", "who", "--max-records", "2")
        outcome = sfumato_command("survival", "trial.csv", *COLUMNS, *grouping, "--out", "out")
        assert outcome.code == 0, outcome.text
        files = {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}
        moment = re.compile(rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?")
        written.append((outcome.text, {name: moment.sub(b"", content) for name, content in files.items()}))
    assert written[0][0] == written[1][0]
    for name, content in written[0][1].items():
        assert content == written[1][1][name], name
