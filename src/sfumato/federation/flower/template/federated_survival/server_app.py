"""The server's half. The outcome is in the checkpoint; what is printed here goes into the run's log."""

from sfumato.federation import Outcome, Protocol
from sfumato.federation.flower import to_server_app

from .protocols import PROTOCOLS


def publish(protocol: Protocol, outcome: Outcome) -> None:
    """Say what came out."""
    print(f"{outcome.result.claim_}\nmedian: {outcome.result.median_survival_time()}", flush=True)


app = to_server_app(PROTOCOLS, finished=publish)
