"""The registry's half."""

from sfumato.federation.flower import to_client_app

from .protocols import PROTOCOLS, load_data

app = to_client_app(PROTOCOLS, load_data)
