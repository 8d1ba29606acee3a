"""Sweep over configurations of federation and training: which of them betray their subjects, and what matters most.

For whoever plans a federation. The factors are those of Suri et al. (2022, arXiv 2206.03317), the grid ours.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from sfumato.attacks.reconstruction.journal import GameJournal
from sfumato.attacks.subject_membership.attacks import LossAcrossRoundsAttack, LossThresholdAttack
from sfumato.attacks.subject_membership.federation import FederationConfig, make_federation, split_subjects
from sfumato.attacks.subject_membership.network import n_parameters
from sfumato.attacks.subject_membership.report import evaluate
from sfumato.attacks.subject_membership.training import TrainingConfig, train
from sfumato.errors import InvalidData

Design = Literal["sobol", "random"]
Space = Mapping[str, Sequence[Any]]

#: The whole grid: levels of each factor, in increasing order.
GRID: dict[str, tuple[Any, ...]] = {
    "records": (5, 20, 50, 100),
    "subjects": (100, 200, 500),
    "dimension": (20, 60, 200),
    "separation": (0.5, 1.0, 2.0, 4.0),
    "silos": (1, 2, 5, 10),
    "spread": ("one", "uniform", "dirichlet"),
    "hidden": ((), (64,), (256,), (256, 256, 256)),
    "local_epochs": (1, 2, 5),
    "rounds": (5, 10, 30, 100),
    "learning_rate": (0.03, 0.1),
    "batch": (16, 32, 64),
    "weight_decay": (0.0, 1e-4, 1e-3),
    "dropout": (0.0, 0.5),
}

#: The part of it whose runs take seconds.
SMALL_GRID: dict[str, tuple[Any, ...]] = {
    **GRID,
    "records": (5, 20, 50),
    "subjects": (100, 200),
    "dimension": (20, 60),
    "hidden": ((), (64,), (256,)),
    "rounds": (5, 10, 30),
}

_FEDERATION = {field.name for field in dataclasses.fields(FederationConfig)}
_TRAINING = {field.name for field in dataclasses.fields(TrainingConfig)}
_KNOWN = 20
_FRESH = 10


def sweep(
    space: Space | None = None,
    n_configs: int = 300,
    *,
    n_jobs: int = 1,
    out: str | Path | None = None,
    design: Design = "sobol",
    random_state: int = 0,
) -> pd.DataFrame:
    """Train and attack one federation for each of many configurations.

    Parameters
    ----------
    space : mapping of str to sequence, optional
        Levels of fields of `FederationConfig` and `TrainingConfig`; `GRID` by default.
    n_configs : int, default 300
    n_jobs : int, default 1
        Configurations at a time; the result does not depend on it.
    out : str or Path, optional
        A file of JSON lines that finished configurations are appended to, so that the same call goes on after an
        interruption. A configuration that failed is recorded and not tried again.
    design : {"sobol", "random"}
        How configurations are drawn from the space; each factor's levels come about equally often.
    random_state : int, default 0

    Returns
    -------
    pandas.DataFrame, one row a configuration
        The factors; `state` (done or failed) and `error`; `threshold_auc` and `rounds_auc`, accuracy of both attacks,
        test accuracy of the model, and seconds.

    Raises
    ------
    InvalidData
        If a factor is unknown or has no level, or the file is of another sweep.
    """
    space = GRID if space is None else space
    _check(space, n_configs, design)
    chosen = configurations(space, n_configs, design=design, random_state=random_state)
    # How many are run is no part of what the sweep is: one that has ended may be prolonged.
    identity = {"space": {k: list(map(_plain, v)) for k, v in space.items()}, "design": design, "seed": random_state}
    book = GameJournal(out, identity)
    todo = [i for i in range(n_configs) if i not in book.finished]
    runs: Iterable[tuple[int, dict[str, Any]]] = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_run)(i, chosen[i], random_state) for i in todo
    )
    for i, record in runs:
        book.add(i, record)
    return pd.DataFrame([{**_columns(chosen[i]), **book.finished[i]} for i in range(n_configs)])


def configurations(
    space: Space, n_configs: int, *, design: Design = "sobol", random_state: int = 0
) -> list[dict[str, Any]]:
    """Draw configurations; the first ones do not depend on how many follow."""
    rng = np.random.default_rng(random_state)
    if design == "sobol":
        lattice = qmc.Sobol(len(space), scramble=False).random_base2(max(1, n_configs - 1).bit_length())
        points = (lattice[:n_configs] + rng.random(len(space))) % 1  # a random shift keeps it even
    else:
        points = rng.random((n_configs, len(space)))
    return [
        {name: levels[int(u * len(levels))] for (name, levels), u in zip(space.items(), point, strict=True)}
        for point in points
    ]


def run_configuration(factors: Mapping[str, Any], *, random_state: int = 0) -> dict[str, float]:
    """Train one federation and run both attacks with 20 known subjects and 10 fresh samples of each.

    Parameters
    ----------
    factors : mapping
        Fields of `FederationConfig` and `TrainingConfig`.
    random_state : int, default 0

    Returns
    -------
    dict of str to float
        The measured columns of `sweep`.

    Raises
    ------
    InvalidData
        If a factor is out of range or the model diverged.
    """
    federation = make_federation(
        FederationConfig(**{k: v for k, v in factors.items() if k in _FEDERATION}), random_state=random_state
    )
    config = TrainingConfig(**{k: v for k, v in factors.items() if k in _TRAINING})
    run = train(federation, config, random_state=random_state)
    samples, members = federation.samples(_FRESH), dict(enumerate(federation.members))
    known, others = split_subjects(federation.members, _KNOWN, random_state=random_state)
    calibration, scored = {int(s): samples[s] for s in known}, {int(s): samples[s] for s in others}
    one = evaluate(LossThresholdAttack().fit(run.model, calibration, members), run.model, scored, members)
    path = run.checkpoints
    across = evaluate(LossAcrossRoundsAttack().fit(path, calibration, members), path, scored, members)
    x, y = federation.holdout()
    return {
        "threshold_auc": one.auc,
        "threshold_accuracy": one.accuracy,
        "rounds_auc": across.auc,
        "rounds_accuracy": across.accuracy,
        "test_accuracy": float((run.model(x).argmax(axis=1) == y).mean()),
    }


def main_effects(frame: pd.DataFrame, target: str = "threshold_auc", *, random_state: int = 0) -> pd.DataFrame:
    """What each factor does to a measurement, over all others.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `sweep`; configurations that failed are left out.
    target : str, default "threshold_auc"

    Returns
    -------
    pandas.DataFrame indexed by factor
        `spearman` and its two-sided `p` where levels have an order (models go by their number of parameters), and
        `importance`: by how much a random forest's R² on held-out configurations falls if the factor is permuted.
    """
    done = frame[frame["state"] == "done"]
    factors = [name for name in done.columns if name in _FEDERATION | _TRAINING and done[name].nunique() > 1]
    codes = pd.DataFrame({name: _codes(done, name) for name in factors})
    held = np.arange(len(done)) % 4 == 0
    forest = RandomForestRegressor(200, random_state=random_state).fit(codes[~held], done[target][~held])
    importance = permutation_importance(
        forest, codes[held], done[target][held], n_repeats=20, random_state=random_state
    ).importances_mean
    rows = {}
    for name, weight in zip(factors, importance, strict=True):
        ordered = name != "spread"
        rho, p = stats.spearmanr(codes[name], done[target]) if ordered else (np.nan, np.nan)
        rows[name] = {"spearman": float(rho), "p": float(p), "importance": float(weight)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("factor")


def _run(i: int, factors: Mapping[str, Any], seed: int) -> tuple[int, dict[str, Any]]:
    """One configuration; whatever goes wrong in it is its result."""
    start = time.perf_counter()
    try:
        found = run_configuration(factors, random_state=seed + 1000 * i)
        record: dict[str, Any] = {"state": "done", "error": "", **found}
    except Exception as error:
        record = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
    return i, {**record, "seconds": round(time.perf_counter() - start, 3)}


def _codes(frame: pd.DataFrame, name: str) -> NDArray[Any]:
    """Levels as numbers: what has an order keeps it."""
    if name == "hidden":
        widths = [tuple(int(w) for w in str(cell).split("x") if w) for cell in frame[name]]
        return np.array([n_parameters((60, *each, 10)) for each in widths])
    if name == "spread":
        return np.asarray(pd.factorize(frame[name])[0])
    return frame[name].to_numpy(dtype=np.float64)


def _columns(factors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "x".join(map(str, v)) if name == "hidden" else v for name, v in factors.items()}


def _plain(level: Any) -> Any:
    return list(level) if isinstance(level, tuple) else level


def _check(space: Space, n_configs: int, design: str) -> None:
    unknown = sorted(set(space) - _FEDERATION - _TRAINING)
    if unknown or not space:
        raise InvalidData(f"factors must be fields of FederationConfig or TrainingConfig, not {', '.join(unknown)}")
    if any(len(levels) == 0 for levels in space.values()):
        raise InvalidData("each factor needs at least one level")
    if isinstance(n_configs, bool) or not isinstance(n_configs, (int, np.integer)) or n_configs < 1:
        raise InvalidData("n_configs must be a whole number, at least 1")
    if design not in ("sobol", "random"):
        raise InvalidData("design must be 'sobol' or 'random'")
