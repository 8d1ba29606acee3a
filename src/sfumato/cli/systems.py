"""`sfumato systems`: the 47 systems, and which of them work."""

from __future__ import annotations

from sfumato.cli.printing import rows


def systems() -> None:
    """List the systems with their state: works, partial or planned."""
    from sfumato.studies.systems import SYSTEMS

    rows(["number", "system", "module", "state"], [[f"{s.number:02}", s.title, s.module, s.state] for s in SYSTEMS])
