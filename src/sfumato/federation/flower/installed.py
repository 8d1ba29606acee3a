"""Flower, if it is installed in a version that the adapters know.

For the modules of this package, which call it before their first import of flwr.
"""

from __future__ import annotations

import os
from importlib import metadata

from sfumato.errors import MissingExtra

#: The versions that the adapters were written against, as in pyproject.toml.
VERSIONS = ("1.41", "1.42")


def require_flower() -> None:
    """Raise MissingExtra unless a known version of Flower is there; switch its telemetry off, unless it was set.

    Flower reads the switch at its first import, so this comes before.
    """
    try:
        version = metadata.version("flwr")
    except metadata.PackageNotFoundError:
        raise MissingExtra("federation") from None
    if ".".join(version.split(".")[:2]) not in VERSIONS:
        raise MissingExtra("federation")
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        import flwr.app  # noqa: F401
    except ImportError:
        raise MissingExtra("federation") from None
