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
    "LedgerCorrupt",
    "LedgerError",
    "MissingExtra",
    "PureDP",
    "RenyiDP",
    "SfumatoError",
    "__version__",
    "cost_of",
]
