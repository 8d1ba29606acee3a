"""`sfumato survival`: a private Kaplan-Meier curve from a file, with its claim, picture, report and audit."""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from sfumato.cli.options import writable
from sfumato.cli.printing import rows, say, working
from sfumato.cli.reading import Columns, bundled, normalised, read
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.ledger import Ledger, Receipt

AUDIT_TRIALS = 20_000


@dataclass(frozen=True)
class Table:
    """The columns to count, what is public about them, and how to speak of time."""

    frame: pd.DataFrame
    columns: Columns
    horizon: float
    labels: tuple[str, ...] | None
    time_unit: str


def survival(
    context: typer.Context,
    file: str = typer.Argument(
        ..., help="A CSV or Parquet file, one row a person; or a bundled cohort: lung, rossi, …"
    ),
    duration: str | None = typer.Option(None, help="Column: time of follow-up."),
    event: str | None = typer.Option(None, help="Column: 1 or true if the event was seen, 0 or false if censored."),
    horizon: float | None = typer.Option(
        None,
        help="End of the time axis, by PUBLIC knowledge: the study's protocol, never the largest time in the file.",
    ),
    epsilon: float = typer.Option(..., help="How much the release may tell about one person; 1 is a common choice."),
    group: str | None = typer.Option(None, help="Column to compare groups by."),
    group_values: str | None = typer.Option(None, help="The groups, by public knowledge, with commas between: a,b."),
    bins: int | None = typer.Option(None, min=1, help="Number of intervals; chosen within the budget if not given."),
    neighbours: str = typer.Option("add-remove", help="add-remove, or replace-one if the number of people is public."),
    person: str | None = typer.Option(None, help="Column that identifies people, if some may have several rows."),
    max_records: int | None = typer.Option(None, min=1, help="Most rows kept of a person; the noise grows with it."),
    ledger: str | None = typer.Option(None, help="Charge this ledger: sqlite:///file.db or a PostgreSQL URL."),
    dataset: str | None = typer.Option(None, help="The data set's name in the ledger."),
    audit: bool = typer.Option(
        False, "--audit", help="Attack the release's code on made-up data and report the result."
    ),
    title: str | None = typer.Option(None, help="Title of the report."),
    out: Path = typer.Option(..., help="Folder for curve.csv, curve.png, claim.json and report.html."),
) -> None:
    """A differentially private Kaplan-Meier curve, with its claim, its picture and its audit.

    Examples:

    `sfumato survival lung --group sex --epsilon 1 --audit --out lung-report`

    `sfumato survival trial.csv --duration days --event died --horizon 730 --epsilon 0.5 --out report`

    `sfumato survival trial.csv --duration days --event died --horizon 730 --epsilon 0.5 --group arm
    --group-values placebo,treatment --ledger sqlite:///budgets.db --dataset trial --out report`

    The file's largest time, its groups and its number of rows are private: what is public, you say.
    Running it again is another release, and costs again.
    """
    if not (0 < epsilon < math.inf):
        raise InvalidData("--epsilon must be a finite number above 0")
    if (ledger is None) != (dataset is None):
        raise InvalidData("--ledger and --dataset go together: which account is to be charged?")
    table = _table(file, duration, event, horizon, group, group_values, person)
    folder = writable(out, context)
    _load_plotting()  # what can fail fails before the budget is spent
    parameters = {
        "epsilon": epsilon, "horizon": table.horizon, "intervals": bins or "chosen privately", "neighbours": neighbours,
        "groups": ", ".join(table.labels) if table.labels else None, "max_records": max_records,
    }  # fmt: skip
    fit, receipt = _release(table, epsilon, bins, neighbours, max_records, ledger, dataset)
    log_rank, evidence = _examine(fit, table, audit)
    heading = title or f"Survival{f' by {group}' if group else ''}: {Path(file).stem}"
    try:
        _write(folder, fit, table, heading, log_rank, evidence, parameters, receipt)
    except OSError:
        spent = "; the ledger was charged" if receipt else ""
        raise InvalidData(f"the release could not be written to --out: is the disk full?{spent}") from None
    _summarise(fit, table, log_rank, evidence, folder)
    if any(e.verdict == "falsified" for e in evidence):
        raise typer.Exit(1)


def _table(
    file: str,
    duration: str | None,
    event: str | None,
    horizon: float | None,
    group: str | None,
    group_values: str | None,
    person: str | None,
) -> Table:
    cohort = bundled(file)
    if cohort is not None:
        duration, event = duration or cohort.duration, event or cohort.event
        horizon = cohort.horizon if horizon is None else horizon
    for name, value in (("--duration", duration), ("--event", event), ("--horizon", horizon)):
        if value is None:
            raise InvalidData(f"{name} is missing: which column, or which public end of the time axis?")
    assert duration is not None
    assert event is not None
    assert horizon is not None
    if not (0 < horizon < math.inf):
        raise InvalidData("--horizon must be a finite number above 0")
    declared = _labels(group, group_values, cohort.groups.get(group) if cohort and group else None)
    columns = Columns(duration, event, group, person)
    if cohort is None:
        frame = read(file, columns)
    else:
        missing = [name for name in columns.named() if name not in cohort.frame]
        if missing:
            raise InvalidData(
                f"there is no column {missing[0]!r} in {file}; it has {', '.join(map(str, cohort.frame))}"
            )
        frame = normalised(cohort.frame, columns)
    return Table(frame, columns, horizon, declared, cohort.time_unit if cohort else "")


def _labels(group: str | None, group_values: str | None, known: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    if group is None:
        if group_values is not None:
            raise InvalidData("--group-values needs --group: the column that holds them")
        return None
    if group_values is not None:
        return tuple(value.strip() for value in group_values.split(","))
    if known is None:
        raise InvalidData("--group needs --group-values: which groups there are must be public, not read from the file")
    return tuple(map(str, known))


def _load_plotting() -> None:
    import matplotlib as mpl

    mpl.use("Agg")


def _release(
    table: Table,
    epsilon: float,
    bins: int | None,
    neighbours: str,
    max_records: int | None,
    ledger: str | None,
    dataset: str | None,
) -> tuple[Any, Receipt | None]:
    from sfumato.statistics.survival import DPKaplanMeier

    estimator = DPKaplanMeier(
        epsilon=epsilon,
        horizon=table.horizon,
        n_bins=bins or "auto",
        neighbours=neighbours,  # type: ignore[arg-type]
    )
    with contextlib.ExitStack() as stack:
        receipts: list[Receipt] = []
        if ledger is not None and dataset is not None:
            receipts = stack.enter_context(Ledger(ledger).charging(dataset))
        estimator.fit_frame(
            table.frame,
            duration_col=table.columns.duration,
            event_col=table.columns.event,
            group_col=table.columns.group,
            group_labels=table.labels,
            person_col=table.columns.person,
            max_records=max_records,
        )
    return estimator, receipts[0] if receipts else None


def _examine(fit: Any, table: Table, audit: bool) -> tuple[Any, list[Evidence]]:
    from sfumato.statistics.survival import dp_logrank
    from sfumato.studies.survival_audit import audit_release

    log_rank = None
    if table.labels is not None and len(table.labels) == 2:
        with working("log-rank test: simulating its null distribution"):
            log_rank = dp_logrank(fit, random_state=0)  # the same release, the same p
    if not audit:
        return log_rank, []
    with working(f"audit: {AUDIT_TRIALS:,} releases of made-up data on either side"):
        return log_rank, [audit_release(fit, AUDIT_TRIALS)]


def _write(
    folder: Path,
    fit: Any,
    table: Table,
    title: str,
    log_rank: Any,
    evidence: list[Evidence],
    parameters: dict[str, Any],
    receipt: Receipt | None,
) -> None:
    """Write each file whole or not at all: a reader never finds half a report."""
    from sfumato.report import Provenance, survival_page

    picture = _picture(fit, table, title)
    provenance = Provenance(parameters, asdict(receipt) if receipt else None)
    page = survival_page(
        fit, picture, provenance, title=title, time_unit=table.time_unit, log_rank=log_rank, evidence=evidence
    )
    document = {
        "claim": fit.claim_.to_json(),
        "evidence": [e.to_json() for e in evidence],
        "provenance": provenance.to_json(),
        "noisy_counts": fit.noisy_counts_.to_json(),
    }
    contents = {
        "curve.csv": fit.table().to_csv(index=False).encode(),
        "curve.png": picture,
        "claim.json": (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(),
        "report.html": page.encode(),
    }
    partial = {name: folder / f".{name}.{os.getpid()}" for name in contents}
    try:
        for name, content in contents.items():
            partial[name].write_bytes(content)
        for name, path in partial.items():  # only once all are written: the four belong together
            path.replace(folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def _picture(fit: Any, table: Table, title: str) -> bytes:
    import io

    import matplotlib.pyplot as plt

    axes = fit.plot(time_unit=table.time_unit)
    axes.set_title(title, loc="left")
    legend = axes.get_legend()
    if legend is not None and table.columns.group:
        legend.set_title(table.columns.group)
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=160)
    plt.close(axes.figure)
    return buffer.getvalue()


def _summarise(fit: Any, table: Table, log_rank: Any, evidence: list[Evidence], folder: Path) -> None:
    say(str(fit.claim_))
    median = fit.median_survival_time(level=0.95)
    unit = f" ({table.time_unit})" if table.time_unit else ""
    rows(
        ["group", f"median{unit}", "95 % interval"],
        [
            [str(label) if table.labels else "all", _time(r["estimate"]), f"{_time(r['lower'])} to {_time(r['upper'])}"]
            for label, r in median.iterrows()
        ],
    )
    if log_rank is not None:
        say(f"log-rank: chi-square {log_rank.statistic:.2f}, p = {log_rank.p_value:.3f}")
    for e in evidence:
        say(f"audit: {e}")
    say("wrote " + ", ".join(str(folder / name) for name in ("curve.png", "curve.csv", "claim.json", "report.html")))


def _time(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not reached"
