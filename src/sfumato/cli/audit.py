"""`sfumato audit`: does running code betray the privacy that it claims?"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from sfumato.cli.options import read_bound, writable
from sfumato.cli.printing import fail, rows, say
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Claim, Unit

if TYPE_CHECKING:
    from sfumato.attacks.bayesian_audit import AuditReport, Mechanism
    from sfumato.studies.exhibit import Exhibit

UNDERPOWERED = 4


def audit(
    context: typer.Context,
    mechanism: str | None = typer.Argument(
        None, help="An exhibit's name (`--list` prints them), or module:callable with callable(x, n, rng)."
    ),
    list_exhibits: bool = typer.Option(False, "--list", help="Print the exhibits: broken mechanisms and their fixes."),
    fixed: bool = typer.Option(False, "--fixed", help="Audit an exhibit's fix."),
    epsilon: float | None = typer.Option(None, help="The claim of your mechanism: pure ε, or with --delta (ε, δ)."),
    delta: float | None = typer.Option(None, help="With --epsilon."),
    rho: float | None = typer.Option(None, help="The claim in ρ-zCDP."),
    mu: float | None = typer.Option(None, help="The claim in μ-Gaussian differential privacy."),
    unit: str = typer.Option("person", help="person, record, user, subject or silo."),
    neighbours: str = typer.Option("add-remove", help="add-remove or replace-one."),
    pairs: Path | None = typer.Option(
        None, help="JSON file: a list of pairs [x, x'] of neighbouring inputs; lists of numbers become arrays."
    ),
    one_shot: bool = typer.Option(False, "--one-shot", help="Your callable is (x, rng) and returns one output."),
    trials: int = typer.Option(200_000, min=100, help="Counted runs a side; half as many more choose the event."),
    alpha: float = typer.Option(0.05, help="False-alarm rate of the whole audit."),
    seed: int | None = typer.Option(None, help="Seed of the search and of the generator handed to the mechanism."),
    journal: Path | None = typer.Option(
        None, help="Keep counts in this file: the same command, run again after an interruption, goes on."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
    out: Path | None = typer.Option(None, help="Folder for audit.json and audit.html."),
) -> None:
    """Attack a mechanism's claim; exit 1 if it is violated, 4 if the audit was too small to tell.

    Examples: `sfumato audit float-laplace` ·
    `sfumato audit mine:mechanism --epsilon 1 --pairs pairs.json --out report`
    """
    if list_exhibits:
        _print_exhibits()
        return
    if mechanism is None:
        raise InvalidData("name an exhibit (--list prints them) or give module:callable")
    folder = None if out is None else writable(out, context)
    claimed = any(value is not None for value in (epsilon, delta, rho, mu))
    exhibit: Exhibit | None = None
    try:
        if ":" in mechanism:
            if fixed:
                raise InvalidData("--fixed is for exhibits")
            claim = Claim(
                read_bound(epsilon, delta, rho, mu), unit=cast(Unit, unit), neighbours=cast(Neighbours, neighbours)
            )
            report = _audit_callable(mechanism, claim, pairs, one_shot, trials, alpha, seed, journal)
        else:
            if claimed or pairs or one_shot or journal:
                raise InvalidClaim("an exhibit brings its own claim and pairs; a claim is for module:callable")
            exhibit, report = _audit_exhibit(mechanism, fixed, trials, seed)
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on from {journal}" if journal else "interrupted", 130)
    parameters = {"mechanism": mechanism, "trials": trials, "alpha": alpha, "seed": seed, "fixed": fixed or None}
    if folder is not None:
        _write(folder, report, parameters, exhibit, fixed)
    _print(report, folder, as_json)
    raise typer.Exit({"violation": 1, "underpowered": UNDERPOWERED}.get(report.verdict, 0))


def _print_exhibits() -> None:
    from sfumato.studies.museum import exhibits

    rows(["name", "what it is", "claim"], [[e.name, e.title, str(e.claim.bound)] for e in exhibits()])


def _audit_exhibit(name: str, fixed: bool, trials: int, seed: int | None) -> tuple[Exhibit, AuditReport]:
    from sfumato.studies.museum import audit_exhibit, get

    exhibit = get(name)
    return exhibit, audit_exhibit(exhibit, fixed=fixed, trials=trials, seed=seed)


def _audit_callable(
    name: str,
    claim: Claim,
    pairs: Path | None,
    one_shot: bool,
    trials: int,
    alpha: float,
    seed: int | None,
    journal: Path | None,
) -> AuditReport:
    from sfumato.attacks.bayesian_audit import Auditor, one_at_a_time

    if pairs is None:
        raise InvalidData("--pairs is missing: which inputs are neighbours under the claim?")
    found = _import(name)
    auditor = Auditor(alpha=alpha, n_train=trials // 4, n_select=trials // 4, n_test=trials, random_state=seed)
    mechanism: Mechanism = one_at_a_time(found) if one_shot else found
    return auditor.audit(mechanism, claim, pairs=_read_pairs(pairs), journal=journal)


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError):
        raise InvalidData(f"there is no module {module!r} to import from this folder") from None
    except AttributeError:
        raise InvalidData(f"the module {module!r} has no {attribute!r}") from None
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise InvalidData(f"{name} is not callable")
    return found


def _read_pairs(path: Path) -> list[tuple[Any, Any]]:
    try:
        document = json.loads(path.read_text())
    except OSError:
        raise InvalidData(f"there is no pair file {path}") from None
    except ValueError:
        raise InvalidData("the pair file must be JSON: a list of pairs [x, x']") from None
    if not isinstance(document, list) or not document or any(_length(pair) != 2 for pair in document):
        raise InvalidData("the pair file must hold a list of pairs [x, x'], at least one")
    return [(_as_input(a), _as_input(b)) for a, b in document]


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else -1


def _as_input(value: Any) -> Any:
    import numpy as np

    if not isinstance(value, list):
        return value
    try:
        array = np.array(value)
    except ValueError:
        return value
    return array if array.dtype.kind in "biuf" else value


def _print(report: AuditReport, folder: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
        return
    say(f"claim: {report.claim}")
    say(f"verdict: {report.verdict}")
    say(f"ε is at least {report.eps_lower:.4g} at δ = {report.delta:g} ({1 - report.alpha:.0%} confidence)")
    say(f"this audit could have certified at most ε = {report.power:.4g} ({report.n:,} runs a side)")
    say(f"event: {report.event} ({report.counts.tp:,} runs against {report.counts.fp:,})")
    for note in report.notes:
        say(f"note: {note}")
    if folder is not None:
        say(f"wrote {folder / 'audit.json'}, {folder / 'audit.html'}")


def _write(folder: Path, report: AuditReport, parameters: dict[str, Any], exhibit: Exhibit | None, fixed: bool) -> None:
    from sfumato.report import Provenance, audit_page

    story: Sequence[tuple[str, str]] = ()
    title = f"Audit of {parameters['mechanism']}"
    if exhibit is not None:
        title = exhibit.title if not fixed else f"The fix of: {exhibit.title}"
        story = [("Where it comes from", exhibit.source), ("What is wrong", exhibit.wrong), ("The fix", exhibit.fix)]
    provenance = Provenance(parameters)
    document = {"report": report.to_json(), "provenance": provenance.to_json()}
    (folder / "audit.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    (folder / "audit.html").write_text(audit_page(report, provenance, title=title, story=story))
