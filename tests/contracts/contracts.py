"""All entries of the contract suite: what each public mechanism with a formal claim promises, and how to try it.

A new system adds a module `entries_<system>.py` with `CONTRACTS`, one entry a configuration, and
`WITHOUT_A_FORMAL_CLAIM`, a sentence for each public class that draws no noise of its own; `test_contracts` fails
without.
"""

import importlib
from pathlib import Path

_MODULES = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("entries_*.py"))]

CONTRACTS = [contract for module in _MODULES for contract in module.CONTRACTS]

#: Public classes that hold, carry or attack claims without drawing noise of their own, or promise nothing.
WITHOUT_A_FORMAL_CLAIM = {name: why for module in _MODULES for name, why in module.WITHOUT_A_FORMAL_CLAIM.items()}
