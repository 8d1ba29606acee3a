"""The command line: parse, call, print.

For the statistician and the custodian who do not write Python. Exit codes: 0 done; 1 a check came out bad (an audit
falsified the claim, a ledger is corrupt, a study's row does not hold); 2 bad input or usage; 3 the budget is spent;
4 an audit was too small to tell.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn, cast

import typer

from sfumato._version import __version__
from sfumato.cli import audit, ledger, study, survival, synth, systems
from sfumato.cli.printing import fail
from sfumato.errors import BudgetExceeded, LedgerCorrupt, SfumatoError


def _usage_errors() -> type[Exception]:
    try:
        found = importlib.import_module("typer.exceptions").TyperException
    except ImportError:  # older Typers stand on Click, and Flower holds Typer there
        found = importlib.import_module("click").ClickException
    return cast(type[Exception], found)


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Publish what a data set says, not who said it.\n\n"
        "Start with `sfumato survival lung --epsilon 1 --out first`.\n\n"
        "Exit codes: 0 done, 1 a check came out bad, 2 bad input or usage, 3 the budget is spent, "
        "4 an audit was too small to tell."
    ),
)
app.command("survival")(survival.survival)
app.command("audit")(audit.audit)
app.command("systems")(systems.systems)
app.add_typer(synth.app, name="synth")
app.add_typer(ledger.app, name="ledger")
app.add_typer(study.app, name="study")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sfumato {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    try:
        sys.exit(app(arguments, standalone_mode=False) or 0)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted", 130)
    except _usage_errors() as error:
        _refuse_usage(error)
    except BudgetExceeded as error:
        fail(str(error), 3)
    except LedgerCorrupt as error:
        fail(str(error), 1)
    except SfumatoError as error:
        fail(str(error), 2)
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        if os.environ.get("SFUMATO_DEBUG"):
            raise
        # The message of an error nobody foresaw may hold a value of the data.
        fail(f"internal error ({type(error).__name__}); SFUMATO_DEBUG=1 shows it, with values of the data", 2)


def _refuse_usage(error: Any) -> NoReturn:
    """One line for a wrong option; the help where nothing was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(2)
    message = getattr(error, "format_message", error.__str__)()
    fail(f"{message} Try --help.", 2)
