"""Words of real text that is on every machine: the documentation inside installed Python packages.

For studies of heavy hitters: packages are the parties, and each word that an author wrote is a user who holds it.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sfumato.errors import InvalidData

#: Packages that sfumato needs anyway.
PACKAGES = ("numpy", "scipy", "pandas", "sklearn", "matplotlib", "sqlalchemy", "narwhals", "lifelines")

_DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
_WORD = re.compile(r"[a-z]{3,}")


def documentation_words(package: str, *, skip: Sequence[str] | frozenset[str] = ()) -> Counter[str]:
    """Count the words of three letters or more in the docstrings of an installed package, its tests left out.

    Counts change with the package's version.

    Parameters
    ----------
    package : str
        Top-level name; it is read, not imported.
    skip : collection of str
        Words to leave out: stop words.

    Raises
    ------
    InvalidData
        If it is not installed as a folder of Python files.
    """
    found = importlib.util.find_spec(package)
    folders = None if found is None else found.submodule_search_locations
    if not folders:
        raise InvalidData(f"package must be an installed package, got {package!r}")
    leave_out = frozenset(skip)
    words: Counter[str] = Counter()
    for path in sorted(Path(next(iter(folders))).rglob("*.py")):
        if "tests" not in path.parts:
            for text in _DOCSTRING.findall(path.read_text(encoding="utf-8", errors="ignore")):
                words.update(word for word in _WORD.findall(text.lower()) if word not in leave_out)
    return words
