"""`sfumato ledger`: open a budget, see what is left, check that nobody edited it."""

from __future__ import annotations

from typing import cast

import typer

from sfumato.cli.options import read_bound
from sfumato.cli.printing import rows, say
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Unit
from sfumato.privacy.ledger import Ledger

app = typer.Typer(no_args_is_help=True, help="Open a budget, see what is left, check that nobody edited it.")

URL = typer.Argument(
    ..., help="sqlite:///file.db, a path, or a PostgreSQL URL such as postgresql+psycopg://user@host/db"
)


@app.command()
def create(
    url: str = URL,
    dataset: str = typer.Option(..., help="A name for the data set."),
    epsilon: float | None = typer.Option(None, help="The budget: pure ε, or with --delta (ε, δ)."),
    delta: float | None = typer.Option(None, help="With --epsilon: composition is then tighter than a sum."),
    rho: float | None = typer.Option(None, help="The budget in ρ-zCDP, instead of --epsilon."),
    unit: str = typer.Option("person", help="person, record, user, subject or silo."),
    neighbours: str = typer.Option("add-remove", help="add-remove or replace-one."),
) -> None:
    """Open an account for a data set; it makes the ledger if there is none.

    Example: `sfumato ledger create sqlite:///budgets.db --dataset trial --epsilon 3`
    """
    budget = read_bound(epsilon, delta, rho)
    Ledger(url, create=True).create(dataset, budget, unit=cast(Unit, unit), neighbours=cast(Neighbours, neighbours))
    say(f"{dataset}: {budget}, for each {unit} ({neighbours})")


@app.command()
def show(
    url: str = URL,
    dataset: str | None = typer.Option(None, help="Show this data set's charges."),
) -> None:
    """Print the accounts, or one account's history, with the head hash to keep elsewhere."""
    ledger = Ledger(url)
    if dataset is None:
        accounts = [ledger.account(name) for name in ledger.datasets()]
        rows(
            ["data set", "charges", "remaining", "head"],
            [[a.dataset, str(a.charges), a.remaining, a.head[:16]] for a in accounts],
        )
        return
    account = ledger.account(dataset)
    say(f"{dataset}: {account.remaining}; head {account.head}")
    rows(
        ["position", "at", "purpose", "claim"],
        [[str(c.position), c.at, c.purpose, str(c.claim.bound)] for c in ledger.history(dataset)],
    )


@app.command()
def verify(url: str = URL) -> None:
    """Recompute every hash and total; exit 1 if a row was edited, removed or moved."""
    count = Ledger(url).verify()
    say(f"verified: {count} charges, none edited, removed or moved")
