"""Reports: one self-contained HTML page with the claim, the picture, the table, the evidence and the provenance."""

from sfumato.report.page import Provenance, survival_page

__all__ = ["Provenance", "survival_page"]
