import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from sfumato.attacks.subject_membership import GRID, main_effects, run_configuration, sweep
from sfumato.attacks.subject_membership.sweep import configurations
from sfumato.errors import InvalidData

TINY = {
    "records": (2, 10),
    "subjects": (60,),
    "dimension": (5, 20),
    "hidden": ((), (16,)),
    "rounds": (2, 4),
    "spread": ("one", "uniform"),
}


def test_configurations_are_even_and_do_not_depend_on_how_many_follow():
    few, many = configurations(GRID, 100), configurations(GRID, 256)
    assert many[:100] == few
    for name, levels in GRID.items():
        counts = pd.Series([str(each[name]) for each in many]).value_counts()
        assert len(counts) == len(levels)
        assert counts.max() - counts.min() <= 0.1 * 256
    assert configurations(GRID, 5, random_state=1) != few[:5]


def test_a_sweep_has_a_row_a_configuration_and_does_not_depend_on_jobs(tmp_path):
    alone = sweep(TINY, 6)
    together = sweep(TINY, 6, n_jobs=2, out=tmp_path / "runs.jsonl")
    measured = [c for c in alone.columns if c != "seconds"]
    pd.testing.assert_frame_equal(alone[measured], together[measured])
    assert (alone["state"] == "done").all()
    assert alone["threshold_auc"].between(0, 1).all()


def test_after_a_kill_a_sweep_goes_on_and_repeats_nothing(tmp_path):
    out = tmp_path / "runs.jsonl"
    script = f"from sfumato.attacks.subject_membership import sweep\nsweep({TINY!r}, 400, out={str(out)!r})"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        while not out.exists() or out.read_text().count("\n") < 4:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    before = out.read_text()
    finished = before[: before.rindex("\n") + 1]
    with out.open("a") as file:
        file.write('{"repetition": 99')  # and a line that was cut off
    n = finished.count("\n") + 3
    frame = sweep(TINY, n, out=out)
    lines = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert out.read_text().startswith(finished)
    assert sorted(line["repetition"] for line in lines) == list(range(n))
    assert len(frame) == n


def test_what_fails_is_recorded_and_not_tried_again(tmp_path):
    out = tmp_path / "runs.jsonl"
    space = {**TINY, "hidden": ((16,),), "learning_rate": (1e300,)}
    first = sweep(space, 2, out=out)
    assert (first["state"] == "failed").all()
    assert first["error"].str.contains("diverged").all()
    size = out.stat().st_size
    sweep(space, 2, out=out)
    assert out.stat().st_size == size


def test_a_file_of_another_sweep_is_refused(tmp_path):
    sweep(TINY, 1, out=tmp_path / "runs.jsonl")
    with pytest.raises(InvalidData, match="another"):
        sweep({**TINY, "rounds": (2,)}, 1, out=tmp_path / "runs.jsonl")


def test_main_effects_find_what_matters():
    frame = pd.DataFrame(configurations(GRID, 256))
    rng = np.random.default_rng(0)
    frame["hidden"] = ["x".join(map(str, each)) for each in frame["hidden"]]
    noise = rng.normal(scale=0.3, size=256)
    frame["threshold_auc"] = np.log(frame["records"]) - 0.5 * np.log(frame["subjects"]) + noise
    frame["state"] = "done"
    frame.loc[0, "state"] = "failed"
    effects = main_effects(frame)
    assert effects.loc["records", "spearman"] > 0.5
    assert effects.loc["subjects", "spearman"] < -0.1
    assert effects["importance"].idxmax() == "records"
    assert np.isnan(effects.loc["spread", "spearman"])
    assert (effects["p"].drop(["records", "subjects", "spread"]) > 1e-6).all()


def test_models_are_ordered_by_their_parameters():
    frame = pd.DataFrame({"hidden": ["", "64", "256", "256x256x256"] * 20, "rounds": [5, 10] * 40, "state": "done"})
    frame["threshold_auc"] = [0.1, 0.2, 0.3, 0.4] * 20
    assert main_effects(frame).loc["hidden", "spearman"] == pytest.approx(1)


def test_one_configuration_alone():
    found = run_configuration({"subjects": 60, "records": 5, "dimension": 5, "rounds": 2})
    assert set(found) == {"threshold_auc", "threshold_accuracy", "rounds_auc", "rounds_accuracy", "test_accuracy"}


@pytest.mark.parametrize(
    ("space", "n", "design", "message"),
    [
        ({"colour": (1,)}, 1, "sobol", "colour"),
        ({}, 1, "sobol", "fields"),
        ({"rounds": ()}, 1, "sobol", "level"),
        (TINY, 0, "sobol", "n_configs"),
        (TINY, 1, "grid", "design"),
    ],
)
def test_bad_sweeps_are_refused(space, n, design, message):
    with pytest.raises(InvalidData, match=message):
        sweep(space, n, design=design)
