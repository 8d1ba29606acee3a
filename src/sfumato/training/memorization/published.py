"""Memorisation estimates that others computed, from a local file; nothing is downloaded.

For ImageNet and CIFAR-100, whose thousands of trainings Feldman and Zhang ran and released as .npz files (companion
page of "What Neural Networks Memorize and Why", NeurIPS 2020, arXiv 2008.03703).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData

_KEYS = {"tr_mem": "memorization", "tr_labels": "labels", "tt_labels": "test_labels", "infl": "influence"}


@dataclass(frozen=True)
class PublishedEstimates:
    """Scores as published.

    Attributes
    ----------
    memorization : ndarray of float, shape (n,)
    labels : ndarray of int, shape (n,)
    test_labels : ndarray of int, shape (m,), or None
    influence : ndarray of float, shape (n, m), or None
    """

    memorization: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.integer[Any]]
    test_labels: npt.NDArray[np.integer[Any]] | None = None
    influence: npt.NDArray[np.floating[Any]] | None = None


def load_published_estimates(path: str | Path) -> PublishedEstimates:
    """Read `tr_mem` and `tr_labels`, and if they are there `tt_labels` and `infl`; other keys are left alone.

    Parameters
    ----------
    path : path
        A .npz file. Pickled objects in it are refused.

    Raises
    ------
    InvalidData
        If the file is not there or not such a file, a key is missing, shapes do not fit, or a score is not in [-1, 1].
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidData(f"no file {file}")
    if not zipfile.is_zipfile(file):
        raise InvalidData(f"{file} is not a .npz file of plain arrays")
    with np.load(file, allow_pickle=False) as content:
        if missing := {"tr_mem", "tr_labels"} - set(content.files):
            raise InvalidData(f"{file} lacks {', '.join(sorted(missing))}; it has {', '.join(content.files)}")
        try:
            found = PublishedEstimates(**{name: content[key] for key, name in _KEYS.items() if key in content.files})
        except ValueError:
            raise InvalidData(f"{file} is not a .npz file of plain arrays") from None
    n = len(found.memorization)
    if found.memorization.shape != (n,) or found.labels.shape != (n,):
        raise InvalidData(f"{file}: tr_mem and tr_labels must be lists of one length")
    if not (np.abs(found.memorization) <= 1 + 1e-6).all():
        raise InvalidData(f"{file}: tr_mem must be in [-1, 1]")
    if found.influence is not None:
        m = found.influence.shape[-1] if found.test_labels is None else len(found.test_labels)
        if found.influence.shape != (n, m):
            raise InvalidData(f"{file}: infl must have shape ({n}, {m}), got {found.influence.shape}")
    return found
