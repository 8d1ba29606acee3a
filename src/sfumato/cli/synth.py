"""`sfumato synth`: a private synthetic table from a file and a public domain, with its claim, pictures and report."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import typer
from typer.core import TyperGroup

from sfumato.cli.options import writable
from sfumato.cli.printing import rows as print_rows
from sfumato.cli.printing import say, working
from sfumato.errors import InvalidData
from sfumato.privacy.ledger import Ledger, Receipt

JOURNAL = "measurements.jsonl"


class FileFirst(TyperGroup):
    """`synth FILE …` makes a table; the names of the other commands come first, where a file would."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the main command in front of a file or an option."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["table", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=FileFirst,
    no_args_is_help=True,
    add_completion=False,
    help=(
        "A private synthetic table: rows of people who do not exist.\n\n"
        "`sfumato synth FILE --domain domain.yaml --epsilon 1 --out DIR` makes it (`sfumato synth table --help`); "
        "`sfumato synth domain FILE` drafts the domain file."
    ),
)


@app.command()
def table(
    context: typer.Context,
    file: str = typer.Argument(..., help="A CSV or Parquet file, one row a record."),
    domain: Path = typer.Option(..., help="YAML file of what the columns may hold, by PUBLIC knowledge."),
    epsilon: float = typer.Option(..., help="How much the table may tell about one record; 1 is a common choice."),
    delta: float | None = typer.Option(None, help="By default 1/N², with the number of rows N public."),
    out: Path = typer.Option(..., help="Folder for synthetic.csv, claim.json, report.html and measurements.jsonl."),
    n_rows: int = typer.Option(2000, "--rows", min=10, help="Rows that the search fits."),
    sample: int | None = typer.Option(None, min=1, help="Rows to write, drawn with replacement; else all."),
    resolutions: str = typer.Option("2,4,8,16,32", help="Bins for numbers in marginals; each one is paid for."),
    halfspaces: int = typer.Option(0, min=0, help="Also ask so many random half-spaces over the numeric columns."),
    prefixes: int = typer.Option(0, min=0, help="Also ask so many random prefixes over the numeric columns."),
    strategy: str = typer.Option("oneshot", help="oneshot, adaptive or hybrid (marginals at once, then the worst)."),
    rounds: int = typer.Option(50, min=1, help="Adaptive rounds."),
    per_round: int = typer.Option(10, min=1, help="Workloads that a round measures."),
    neighbours: str = typer.Option("replace-one", help="replace-one, or add-remove if the number of rows is private."),
    unit: str = typer.Option("record", help="record, or person if each person has at most one row."),
    clip: bool = typer.Option(False, "--clip", help="Move numbers outside their bounds to the nearest bound."),
    ledger: str | None = typer.Option(None, help="Charge this ledger: sqlite:///file.db or a PostgreSQL URL."),
    dataset: str | None = typer.Option(None, help="The data set's name in the ledger."),
    seed: int | None = typer.Option(None, help="Of the search, which is public; never of the noise."),
    title: str | None = typer.Option(None, help="Title of the report."),
) -> None:
    """A synthetic table whose marginals, half-spaces and prefixes are near the private table's.

    Examples:

    `sfumato synth domain people.csv --out domain.yaml` · edit it, set drafted to false

    `sfumato synth people.csv --domain domain.yaml --epsilon 1 --out published`

    The same command again, with the same --out, goes on from measurements.jsonl there: after a crash nothing is paid
    for twice. For another table, or for fresh noise, which costs again, take another folder.
    """
    from sfumato.cli.domains import read_domain, read_table

    if not (0 < epsilon < math.inf):
        raise InvalidData("--epsilon must be a finite number above 0")
    if (ledger is None) != (dataset is None):
        raise InvalidData("--ledger and --dataset go together: which account is to be charged?")
    declared = read_domain(domain)
    workload = _workload(declared, _bins(resolutions), halfspaces, prefixes)
    frame = read_table(file, declared)
    folder = writable(out, context)
    _load_plotting()  # what can fail fails before the budget is spent
    journal = folder / JOURNAL
    if journal.exists():
        say(f"going on from {journal}: what it holds is not paid for again")
    parameters = {
        "epsilon": epsilon, "delta": delta if delta is not None else "1/N²", "strategy": strategy,
        "rounds": rounds if strategy != "oneshot" else None, "per_round": per_round if strategy != "oneshot" else None,
        "workloads": len(workload), "queries": workload.n_cells, "neighbours": neighbours,
    }  # fmt: skip
    from sfumato.synthesis import GeneticSynthesizer

    synthesizer = GeneticSynthesizer(
        epsilon, delta, workload=workload, strategy=cast(Any, strategy), rounds=rounds, per_round=per_round,
        n_synthetic=n_rows, neighbours=cast(Any, neighbours), unit=cast(Any, unit), clip=clip, journal=journal,
        random_state=seed,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        receipts: list[Receipt] = []
        if ledger is not None and dataset is not None:
            receipts = stack.enter_context(Ledger(ledger).charging(dataset))
        with working(f"measuring {len(workload)} workloads of {workload.n_cells:,} queries, and searching"):
            synthesizer.fit(frame, declared)
    heading = title or f"Synthetic table: {Path(file).stem}"
    try:
        _write(folder, synthesizer, sample, seed, heading, parameters, receipts)
    except OSError:
        raise InvalidData(
            "the table could not be written to --out: is the disk full? The same command goes on"
        ) from None
    _summarise(synthesizer, folder, delta)


@app.command()
def domain(
    file: str = typer.Argument(..., help="A CSV or Parquet file."),
    out: Path | None = typer.Option(None, help="Where to write the draft; printed if not given."),
    most_categories: int = typer.Option(200, min=1, help="Columns with more categories are left out."),
) -> None:
    """Draft a domain file from a table, for a person to correct and confirm.

    The draft looked at the data and is as private as they are: `sfumato synth` refuses it until it says
    `drafted: false`.
    """
    from sfumato.cli.domains import domain_text, typed_texts
    from sfumato.cli.files import read_columns
    from sfumato.synthesis import draft_domain

    if out is not None and out.exists():
        raise InvalidData(f"--out: {str(out)!r} is there already; a confirmed domain is not written over")
    drafted, left_out = draft_domain(typed_texts(read_columns(file, None)), most_categories=most_categories)
    text = domain_text(drafted, file)
    if out is None:
        print(text, end="")
    else:
        try:
            with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as draft:
                draft.write(text)
        except OSError:
            raise InvalidData(f"--out: {str(out)!r} cannot be written") from None
    for name, reason in left_out.items():
        print(f"left out: column {name!r} {reason}", file=sys.stderr)
    print(
        "warning: this draft looked at the data, and is as private as they are. Put public knowledge in its place, "
        "then set drafted to false.",
        file=sys.stderr,
    )


def _workload(domain: Any, bins: Sequence[int], n_halfspaces: int, n_prefixes: int) -> Any:
    from sfumato.synthesis import halfspaces, marginals, prefixes

    workload = marginals(domain, min(2, len(domain)), resolutions=bins)
    # which half-spaces and prefixes are asked is public, and must be the same when a fit goes on
    if n_halfspaces:
        workload += halfspaces(domain, n_halfspaces, random_state=0)
    if n_prefixes:
        workload += prefixes(domain, n_prefixes, random_state=0)
    return workload


def _bins(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidData("--resolutions must be whole numbers with commas between: 2,4,8") from None


def _load_plotting() -> None:
    import matplotlib as mpl

    mpl.use("Agg")


def _write(
    folder: Path,
    fit: Any,
    sample: int | None,
    seed: int | None,
    title: str,
    parameters: dict[str, Any],
    receipts: list[Receipt],
) -> None:
    from sfumato.durable import write_durably
    from sfumato.report import Provenance, synthesis_page

    provenance = Provenance(parameters, asdict(receipts[-1]) if receipts else None)
    document = {
        "claim": fit.claim_.to_json(),
        "domain": fit.domain_.to_dict(),
        "history": fit.history_,
        "provenance": provenance.to_json(),
    }
    contents = {
        "synthetic.csv": fit.sample(sample, random_state=seed).to_csv(index=False).encode(),
        "claim.json": (json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n").encode(),
        "report.html": synthesis_page(fit, provenance, title=title).encode(),
    }
    for name, content in contents.items():
        write_durably(folder / name, partial(_put, content))


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _summarise(fit: Any, folder: Path, delta: float | None) -> None:
    from sfumato.privacy.bounds import ApproxDP

    say(str(fit.claim_))
    if fit.claim_.formal:
        at = delta if delta is not None else min(0.1, 1 / fit.measurements_.n**2)
        say(f"That implies: {fit.claim_.to(ApproxDP, delta=at).bound}.")
    last = fit.history_[-1]
    print_rows(
        ["rows", "workloads measured", "root mean squared gap", "noise"],
        [
            [
                str(len(fit.rows_)),
                str(len(fit.measurements_.which)),
                f"{math.sqrt(last['mean_squared_gap']):.2g}",
                f"{float(fit.measurements_.sigma.max()):.2g}",
            ]
        ],
    )
    say("wrote " + ", ".join(str(folder / name) for name in ("synthetic.csv", "claim.json", "report.html")))
