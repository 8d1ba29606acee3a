"""The server's half."""

from sfumato.federation.flower import to_server_app

from .protocols import PROTOCOLS

app = to_server_app(PROTOCOLS)
