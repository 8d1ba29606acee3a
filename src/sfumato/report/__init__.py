"""Reports: one self-contained HTML page with the claim, the picture, the table, the evidence and the provenance."""

from sfumato.report.page import Provenance, audit_page, survival_page
from sfumato.report.synthesis import synthesis_page

__all__ = ["Provenance", "audit_page", "survival_page", "synthesis_page"]
