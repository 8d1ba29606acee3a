"""Names of a package that are imported when they are asked for, so that the package itself stays cheap.

For families that stand on torch: their packages import without it, and its absence is said with the command that helps.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sfumato.errors import MissingExtra


def imported(package: str, modules: Mapping[str, str], name: str, *, extra: str, heavy: tuple[str, ...]) -> Any:
    """Return an attribute of one of the package's modules: the body of its ``__getattr__``.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    modules : mapping of str to str
        Module of each name.
    name : str
    extra : str
        What installs the heavy packages.
    heavy : tuple of str

    Raises
    ------
    AttributeError
        If the package has no such name.
    MissingExtra
        If a heavy package is not installed.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in heavy:
            raise MissingExtra(extra) from None
        raise
