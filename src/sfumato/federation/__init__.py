"""Computing together without pooling data: one protocol object, run in process, in simulation or on real machines."""

from sfumato.federation.checkpoint import Checkpoint
from sfumato.federation.in_process import InProcess, Runtime
from sfumato.federation.message import Message
from sfumato.federation.protocol import Protocol
from sfumato.federation.rounds import Outcome, Terms, Wave, run_rounds, saved_outcome
from sfumato.federation.silo import Silo, SiloStore

__all__ = [
    "Checkpoint",
    "InProcess",
    "Message",
    "Outcome",
    "Protocol",
    "Runtime",
    "Silo",
    "SiloStore",
    "Terms",
    "Wave",
    "run_rounds",
    "saved_outcome",
]
