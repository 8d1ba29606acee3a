"""What can go wrong, by name. For everyone who calls sfumato.

Each error is also the built-in a caller already catches. A message names the argument, what came
and what was expected; it never contains a value read from private data.
"""

from __future__ import annotations


class SfumatoError(Exception):
    """The ancestor of every error that sfumato raises on purpose."""


class InvalidData(SfumatoError, ValueError):
    """The data do not have the declared shape; nothing was spent."""


class DomainError(InvalidData):
    """A table does not lie in the public domain that was declared for it; nothing was spent."""


class SensitivityError(InvalidData):
    """A query that one row may move further than its workload is charged for; nothing was spent."""


class WorkloadTooLarge(InvalidData):
    """More cells than a workload may have; nothing was built and nothing was spent."""


class QueryRejected(InvalidData):
    """A text that is not a query of the grammar; nothing was evaluated and nothing was spent.

    Attributes
    ----------
    reason : str
        Why, in terms of the analyst's own text and of public names.
    position : int or None
        Where in the text, counted in characters from 0.
    """

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason if position is None else f"{reason} (at character {position})")
        self.reason = reason
        self.position = position


class AttackNotApplicable(SfumatoError, ValueError):
    """An attack whose conditions do not hold for this target: no guess, neither right nor wrong."""


class InvalidClaim(SfumatoError, ValueError):
    """A claim, bound or conversion that cannot hold; nothing was spent."""


class BudgetExceeded(SfumatoError, ValueError):
    """The ledger refused the charge, or all answers that were paid for are given; no noise was drawn."""


class ClaimViolated(SfumatoError, ValueError):
    """A release tried to spend more than its claim promises; the draw did not happen."""


class LedgerError(SfumatoError, ValueError):
    """A ledger that is missing, locked, of another kind or schema, or lacks the data set."""


class LedgerCorrupt(LedgerError):
    """A ledger whose rows were edited, removed or reordered."""


class ProtocolError(SfumatoError, ValueError):
    """A message of a federation that is not what its protocol expects; nothing in it was used."""


class TooFewParties(SfumatoError, RuntimeError):
    """Fewer silos answered than the run needs; there is no result. The charges of those that answered stand."""


class HorizonExceeded(SfumatoError, ValueError):
    """More users or batches than the noise was calibrated to; nothing was released for them."""


class NotSynchronised(SfumatoError, RuntimeError):
    """A silo is out of step with the public schedule of synchronisations; nothing was released."""


class MissingExtra(SfumatoError, ImportError):
    """An optional dependency is not installed; the message is the command that installs it."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"pip install 'sfumato[{extra}]'")
        self.extra = extra


class UnsupportedSamplingError(SfumatoError, ValueError):
    """Batches drawn in a way that the proof of a claim does not cover; nothing was spent."""


class ScheduleViolation(SfumatoError, ValueError):
    """A training step on records that the public schedule of batches does not give it; nothing was released."""


class UnsoundClaimError(SfumatoError, ValueError):
    """An ε was asked of a mechanism whose published calibration does not give one."""


class UnsoundClaimWarning(UserWarning):
    """A mechanism was built whose published calibration does not hold: it promises nothing."""
