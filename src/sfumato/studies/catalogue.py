"""The catalogue of studies, for the command line and the docs."""

from __future__ import annotations

from sfumato.errors import InvalidData
from sfumato.studies.adaptive import STUDY as ADAPTIVE
from sfumato.studies.aggregate_responses import STUDY as AGGREGATE_RESPONSES
from sfumato.studies.bandits import STUDY as BANDITS
from sfumato.studies.bayesian_audit import STUDY as BAYESIAN_AUDIT
from sfumato.studies.dp_kaplan_meier import STUDY as DP_KAPLAN_MEIER
from sfumato.studies.error_feedback import STUDY as ERROR_FEEDBACK
from sfumato.studies.gradient_inversion import STUDY as GRADIENT_INVERSION
from sfumato.studies.heavy_hitters import STUDY as HEAVY_HITTERS
from sfumato.studies.hyperfl import STUDY as HYPERFL
from sfumato.studies.linear_reconstruction import STUDY as LINEAR_RECONSTRUCTION
from sfumato.studies.memorization import STUDY as MEMORIZATION
from sfumato.studies.quantization import STUDY as QUANTIZATION
from sfumato.studies.robust_private import STUDY as ROBUST_PRIVATE
from sfumato.studies.sequential import STUDY as SEQUENTIAL
from sfumato.studies.shared_randomness import STUDY as SHARED_RANDOMNESS
from sfumato.studies.similarity import STUDY as SIMILARITY
from sfumato.studies.sticky_noise import STUDY as STICKY_NOISE
from sfumato.studies.study import Study
from sfumato.studies.subject_membership import STUDY as SUBJECT_MEMBERSHIP
from sfumato.studies.supermask import STUDY as SUPERMASK
from sfumato.studies.synthetic_tables import STUDY as SYNTHETIC_TABLES

_STUDIES = (
    DP_KAPLAN_MEIER,
    STICKY_NOISE,
    SEQUENTIAL,
    LINEAR_RECONSTRUCTION,
    ROBUST_PRIVATE,
    BANDITS,
    QUANTIZATION,
    SUBJECT_MEMBERSHIP,
    MEMORIZATION,
    SYNTHETIC_TABLES,
    HEAVY_HITTERS,
    ERROR_FEEDBACK,
    BAYESIAN_AUDIT,
    ADAPTIVE,
    SIMILARITY,
    AGGREGATE_RESPONSES,
    SHARED_RANDOMNESS,
    HYPERFL,
    GRADIENT_INVERSION,
    SUPERMASK,
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
