"""`sfumato study`: re-run a paper's headline comparison: what it says beside what was measured."""

from __future__ import annotations

import json

import typer

from sfumato.cli.printing import rows, say, working
from sfumato.errors import InvalidData

app = typer.Typer(no_args_is_help=True, help="Re-run a paper's headline comparison: what it says, what was measured.")


@app.command("list")
def list_studies() -> None:
    """List the studies."""
    from sfumato.studies import catalogue

    rows(["number", "slug", "title"], [[f"{s.number:02}", s.slug, s.title] for s in catalogue()])


@app.command()
def run(
    slug: str = typer.Argument(..., help="A study's slug, from `sfumato study list`."),
    scale: str = typer.Option("smoke", help="smoke (seconds), small (minutes) or full (hours)."),
    seed: int = typer.Option(0, help="Seed of simulated data and attacks."),
    as_json: bool = typer.Option(False, "--json", help="Print the rows as JSON."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print the docs page of this run."),
) -> None:
    """Run one study; exit 1 if a row that should hold does not."""
    from sfumato.studies import get

    study = get(slug)
    if scale not in ("smoke", "small", "full"):
        raise InvalidData("--scale must be smoke, small or full")
    with working(f"{study.title}, {scale} scale"):
        result = study.run(scale, seed)  # type: ignore[arg-type]
    if as_json:
        document = [{"what": r.what, "paper": r.paper, "measured": r.measured, "holds": r.holds} for r in result.rows]
        typer.echo(json.dumps({"study": slug, "scale": scale, "seed": seed, "rows": document}, ensure_ascii=False))
    elif as_markdown:
        from sfumato.studies.study import to_markdown

        typer.echo(to_markdown(study, result), nl=False)
    else:
        holds = {True: "yes", False: "NO", None: ""}
        rows(
            ["what", "paper", "measured", "holds"],
            [[r.what, r.paper, r.measured, holds[r.holds]] for r in result.rows],
            title=study.title,
        )
        say(f"{scale} scale, {result.seconds:.1f} s")
    if any(r.holds is False for r in result.rows):
        raise typer.Exit(1)
