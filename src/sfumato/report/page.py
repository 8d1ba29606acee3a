"""The report pages: of a private survival analysis, and of an audit.

For the reviewer who gets one file and no network. Everything on it is computed from the noisy counts, the audit's
made-up data and the parameters; nothing from the records.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jinja2

from sfumato._version import __version__
from sfumato.attacks.bayesian_audit import AuditReport
from sfumato.evidence import Evidence
from sfumato.statistics.survival import DPKaplanMeier, LogRankResult


@dataclass(frozen=True)
class Provenance:
    """Where a release came from: parameters, and the ledger's receipt if it was charged."""

    parameters: dict[str, Any]
    ledger: dict[str, Any] | None = None
    version: str = __version__
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "sfumato": self.version,
            "at": self.at,
            "parameters": self.parameters,
            "ledger": self.ledger,
        }


def survival_page(
    fit: DPKaplanMeier,
    picture: bytes,
    provenance: Provenance,
    *,
    title: str,
    time_unit: str = "",
    log_rank: LogRankResult | None = None,
    evidence: Sequence[Evidence] = (),
) -> str:
    """Return the page as one HTML document without outside references.

    Parameters
    ----------
    fit : DPKaplanMeier
        Fitted.
    picture : bytes
        A PNG of the curves.
    provenance : Provenance
    title : str
    time_unit : str
        Shown beside times.
    log_rank : LogRankResult, optional
    evidence : sequence of Evidence
    """
    table = fit.table()
    horizon = float(fit.timeline_[-1])
    grouped = "group" in table.columns
    median, mean = fit.median_survival_time(level=0.95), fit.restricted_mean(horizon, level=0.95)
    return render(
        "survival.html",
        title=title,
        claim=fit.claim_,
        picture=base64.b64encode(picture).decode(),
        rows=table.to_dict("records"),
        grouped=grouped,
        summaries=_summaries(median, mean, grouped),
        horizon=horizon,
        time_digits=max(0, 4 - math.floor(math.log10(horizon))) if horizon >= 1 else 4,
        time_unit=time_unit,
        log_rank=log_rank,
        evidence=evidence,
        provenance=provenance,
        unreliable=int((~table["reliable"]).sum()),
    )


def audit_page(
    report: AuditReport, provenance: Provenance, *, title: str, story: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the page of an audit as one HTML document without outside references.

    Parameters
    ----------
    report : AuditReport
    provenance : Provenance
    title : str
    story : sequence of (heading, sentence)
        What a reader should know besides, such as what is wrong and its fix.
    """
    posterior = report.posterior
    return render(
        "audit.html",
        title=title,
        report=report,
        verdict=report.to_evidence().verdict,
        credible=(posterior.quantile(0.025), posterior.quantile(0.975)),
        provenance=provenance,
        story=story,
    )


def render(template: str, **values: Any) -> str:
    """Fill one of the templates; every value is escaped."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("sfumato.report"), autoescape=True)
    environment.filters["number"] = _number
    return environment.get_template(template).render(**values)


def _summaries(median: Any, mean: Any, grouped: bool) -> list[dict[str, Any]]:
    return [
        {"group": str(label) if grouped else "all", "median": median.loc[label], "mean": mean.loc[label]}
        for label in median.index
    ]


def _number(value: float, digits: int = 3) -> str:
    if value == float("inf"):
        return "not reached"
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:,.0f}"
