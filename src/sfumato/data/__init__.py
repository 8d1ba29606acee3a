"""The data sets that ship, or that a package ships: loaders and their public metadata, nothing else.

For examples, studies and tests. Horizons and group labels are written down here by hand from each study's
description; they are never computed from the rows.
"""

from sfumato.data.survival import SurvivalData, load, names

__all__ = ["SurvivalData", "load", "names"]
