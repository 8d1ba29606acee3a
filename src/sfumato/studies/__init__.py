"""Studies: a module a paper, its headline comparison re-run: what it says beside what was measured."""

from sfumato.studies.catalogue import catalogue, get
from sfumato.studies.study import Row, Scale, Study, StudyResult

__all__ = ["Row", "Scale", "Study", "StudyResult", "catalogue", "get"]
