"""The catalogue of studies, for the command line and the docs."""

from __future__ import annotations

from sfumato.errors import InvalidData
from sfumato.studies.bayesian_audit import STUDY as BAYESIAN_AUDIT
from sfumato.studies.dp_kaplan_meier import STUDY as DP_KAPLAN_MEIER
from sfumato.studies.linear_reconstruction import STUDY as LINEAR_RECONSTRUCTION
from sfumato.studies.sequential import STUDY as SEQUENTIAL
from sfumato.studies.study import Study

_STUDIES = (
    DP_KAPLAN_MEIER,
    SEQUENTIAL,
    LINEAR_RECONSTRUCTION,
    BAYESIAN_AUDIT,
)


def catalogue() -> list[Study]:
    """Return all studies, by number."""
    return list(_STUDIES)


def get(slug: str) -> Study:
    """Return the study with that slug.

    Raises
    ------
    InvalidData
        If there is none.
    """
    for study in _STUDIES:
        if study.slug == slug:
            return study
    raise InvalidData(f"no study {slug!r}; there are {', '.join(study.slug for study in _STUDIES)}")
