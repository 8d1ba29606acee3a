"""sfumato: privacy engineering in one toolkit. No protection without its attack."""

from sfumato._version import __version__
from sfumato.errors import (
    BudgetExceeded,
    ClaimViolated,
    InvalidClaim,
    InvalidData,
    LedgerCorrupt,
    LedgerError,
    MissingExtra,
    SfumatoError,
)
from sfumato.evidence import Evidence
from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.bounds import (
    ZCDP,
    ApproxDP,
    Cryptographic,
    GaussianDP,
    Heuristic,
    PureDP,
    RenyiDP,
)
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.release import Release

__all__ = [
    "ZCDP",
    "ApproxDP",
    "BudgetExceeded",
    "Claim",
    "ClaimViolated",
    "Cost",
    "Cryptographic",
    "Evidence",
    "GaussianDP",
    "Heuristic",
    "InvalidClaim",
    "InvalidData",
    "Ledger",
    "LedgerCorrupt",
    "LedgerError",
    "MissingExtra",
    "PureDP",
    "Release",
    "RenyiDP",
    "SfumatoError",
    "__version__",
    "cost_of",
]
