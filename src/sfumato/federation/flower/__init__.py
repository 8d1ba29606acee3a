"""Protocols as Flower apps: on machines of their own, on Ray, or in this process with Flower's own objects.

For whoever deploys a federation; ``pip install 'sfumato[federation]'``. Flower loads when a function here is called.
"""

from sfumato.federation.flower.apps import to_client_app, to_server_app
from sfumato.federation.flower.deployment import Deployment
from sfumato.federation.flower.keys import make_node_key, make_server_keys
from sfumato.federation.flower.local import run_locally
from sfumato.federation.flower.loopback import Loopback, write_app
from sfumato.federation.flower.simulation import Simulation

__all__ = [
    "Deployment",
    "Loopback",
    "Simulation",
    "make_node_key",
    "make_server_keys",
    "run_locally",
    "to_client_app",
    "to_server_app",
    "write_app",
]
