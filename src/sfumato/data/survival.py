"""Survival cohorts with what is public about them: horizon, unit of time, group labels, source.

For the tutorial, `sfumato survival lung` and the studies. Rows come from lifelines, and for two cohorts from
scikit-survival (GPL, hence never a dependency: `pip install 'sfumato[cohorts]'` if its licence suits you).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sfumato.errors import InvalidData, MissingExtra


@dataclass(frozen=True)
class SurvivalData:
    """A cohort and its public facts.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row a person.
    duration, event : str
        Columns: time of follow-up, and 1 if the event was seen, 0 if the person was censored.
    horizon : float
        A public end of the time axis, in `time_unit`.
    time_unit : str
    groups : dict of str to tuple
        Grouping columns and their public labels.
    source : str
    """

    frame: pd.DataFrame
    duration: str
    event: str
    horizon: float
    time_unit: str
    groups: dict[str, tuple[Any, ...]]
    source: str


def names() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return tuple(_LOADERS)


def load(name: str) -> SurvivalData:
    """Load a bundled cohort by name.

    Raises
    ------
    InvalidData
        If there is no cohort of that name.
    MissingExtra
        If a package that ships it is not installed.
    """
    if name not in _LOADERS:
        raise InvalidData(f"no bundled data set {name!r}; there are {', '.join(_LOADERS)}")
    return _LOADERS[name]()


def _lung() -> SurvivalData:
    return SurvivalData(
        _lifelines("load_lung"), "time", "status", 1095.0, "days", {"sex": (1, 2)},
        "NCCTG advanced lung cancer, 228 patients (Loprinzi et al. 1994), from lifelines",
    )  # fmt: skip


def _rossi() -> SurvivalData:
    return SurvivalData(
        _lifelines("load_rossi"), "week", "arrest", 52.0, "weeks", {"fin": (0, 1)},
        "Recidivism after release, 432 convicts, one year (Rossi et al. 1980), from lifelines",
    )  # fmt: skip


def _gbsg2() -> SurvivalData:
    return SurvivalData(
        _lifelines("load_gbsg2"), "time", "cens", 2660.0, "days", {"horTh": ("no", "yes")},
        "German Breast Cancer Study Group 2, 686 patients (Schumacher et al. 1994), from lifelines",
    )  # fmt: skip


def _waltons() -> SurvivalData:
    return SurvivalData(
        _lifelines("load_waltons"), "T", "E", 80.0, "days", {"group": ("control", "miR-137")},
        "Drosophila life spans, 163 flies (Walton), from lifelines",
    )  # fmt: skip


def _veterans() -> SurvivalData:
    return SurvivalData(
        _scikit_survival("load_veterans_lung_cancer"), "duration", "event", 1000.0, "days",
        {"Treatment": ("standard", "test")},
        "Veterans' lung cancer trial, 137 patients (Kalbfleisch and Prentice 1980), from scikit-survival",
    )  # fmt: skip


def _whas500() -> SurvivalData:
    return SurvivalData(
        _scikit_survival("load_whas500"), "duration", "event", 2400.0, "days", {},
        "Worcester Heart Attack Study, 500 patients (Hosmer, Lemeshow and May 2008), from scikit-survival",
    )  # fmt: skip


def _lifelines(loader: str) -> pd.DataFrame:
    import lifelines.datasets

    frame: pd.DataFrame = getattr(lifelines.datasets, loader)()
    return frame


def _scikit_survival(loader: str) -> pd.DataFrame:
    try:
        import sksurv.datasets
    except ImportError:
        raise MissingExtra("cohorts") from None
    covariates, outcome = getattr(sksurv.datasets, loader)()
    event, duration = outcome.dtype.names
    frame: pd.DataFrame = covariates.reset_index(drop=True)
    return frame.assign(duration=outcome[duration], event=outcome[event].astype(int))


_LOADERS: dict[str, Callable[[], SurvivalData]] = {
    "lung": _lung,
    "rossi": _rossi,
    "gbsg2": _gbsg2,
    "waltons": _waltons,
    "veterans": _veterans,
    "whas500": _whas500,
}
