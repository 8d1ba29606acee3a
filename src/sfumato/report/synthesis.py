"""The report page of a private synthetic table.

For the reviewer who gets one file and no network. Everything on it is computed from the noisy answers and the synthetic
rows; nothing from the records.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ApproxDP
from sfumato.report.page import Provenance, render
from sfumato.synthesis.pictures import plot_answers, plot_column, plot_pairs
from sfumato.synthesis.synthesizer import Synthesizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def synthesis_page(fit: Synthesizer, provenance: Provenance, *, title: str) -> str:
    """Return the page as one HTML document without outside references.

    Parameters
    ----------
    fit : Synthesizer
        Fitted.
    provenance : Provenance
    title : str
    """
    found, rows = fit.measurements_, fit.rows_
    delta = fit.delta if fit.delta is not None else min(0.1, 1 / found.n**2)
    return render(
        "synthesis.html",
        title=title,
        claim=fit.claim_,
        implied=fit.claim_.to(ApproxDP, delta=delta).bound if fit.claim_.formal else None,
        n_synthetic=len(rows),
        n_answers=found.workloads.n_cells,
        n_workloads=len(found.workloads),
        sigma=float(found.sigma.max()),
        gap=math.sqrt(fit.history_[-1]["mean_squared_gap"]),
        answers=_picture(plot_answers, found, rows),
        pairs=_picture(plot_pairs, found, rows),
        columns=[{"name": name, "picture": _picture(plot_column, found, rows, name)} for name in fit.domain_.names],
        history=fit.history_,
        provenance=provenance,
    )


def _picture(draw: Callable[..., Axes], *arguments: Any) -> str:
    """A PNG in base64, empty if there is nothing to draw."""
    import matplotlib.pyplot as plt

    try:
        axes: Any = draw(*arguments)
    except InvalidData:
        return ""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=110)
    plt.close(axes.figure)
    return base64.b64encode(buffer.getvalue()).decode()
