"""A synthesizer that keeps marginals, as a target: a graphical model fitted by the package mbi to exact counts.

For the study of system 10. After MST (McKenna, Miklau, Sheldon, "Winning the NIST Contest", 2021), without its noise:
what is attacked is what marginals themselves give away.
"""

from __future__ import annotations

import itertools
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sfumato.attacks.reconstruction.encoding import Codebook, Codes
from sfumato.attacks.reconstruction.queries import join_codes
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim

Clique = tuple[int, ...]

_STEPS = 3000


def installed() -> bool:
    """Whether mbi, which this room needs, is there."""
    return find_spec("mbi") is not None


class MarginalSynthesizer(BaseEstimator):  # type: ignore[misc]
    """Draws rows from the graphical model of greatest entropy that has some exact marginals of the data.

    Parameters
    ----------
    about : str, optional
        By default the marginals are the pairs of a spanning tree of greatest mutual information (MST's choice). With
        an attribute named, they are sets of three that hold it, each other attribute in one: what a publisher keeps
        who wants that attribute's relations to be right. The pairs whose counts with it are furthest from
        independence come first.
    random_state : int, optional

    Attributes
    ----------
    cliques_ : list of tuple of int
        Attributes of each marginal that was kept.
    misfit_ : float
        Largest total variation distance of the model's marginals from them: 0 if the fit has converged.
    """

    def __init__(self, about: str | None = None, *, random_state: int | None = None) -> None:
        self.about = about
        self.random_state = random_state

    @property
    def claim(self) -> Claim:
        """None: the marginals are exact."""
        return Claim(Heuristic("exact marginals are kept"), unit="record", neighbours="replace-one")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Choose marginals and fit the model."""
        self.codebook_ = Codebook.of(frame)
        codes, self.n_ = self.codebook_.encode(frame), len(frame)
        self.sizes_ = tuple(len(values) for values in self.codebook_.values.values())
        self.random_ = np.random.default_rng(self.random_state)
        kept = _spanning_tree(codes, self.sizes_)
        if self.about is not None:
            kept = _around(list(self.codebook_.values).index(self.about), codes, self.sizes_)
        self.cliques_ = [*((i,) for i in range(len(codes))), *kept]
        self.model_ = self._estimate(codes)
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        codes = self._draw(n)
        names = list(self.codebook_.values)
        return pd.DataFrame({name: self.codebook_.values[name][code] for name, code in zip(names, codes, strict=True)})

    def _estimate(self, codes: Codes) -> Any:
        mbi = import_module("mbi")
        domain = mbi.Domain([str(i) for i in range(len(self.sizes_))], list(self.sizes_))
        measurements = []
        for clique in self.cliques_:
            keys, cells = join_codes(codes, clique, self.sizes_)
            counts = np.bincount(keys, minlength=cells).astype(np.float64)
            measurements.append(mbi.LinearMeasurement(counts, clique=tuple(map(str, clique))))
        model = mbi.estimation.MirrorDescent().estimate(domain, measurements, known_total=float(self.n_), iters=_STEPS)
        gaps = [np.asarray(model.project(m.clique).datavector()) - m.noisy_measurement for m in measurements]
        self.misfit_ = float(max(np.abs(gap).sum() for gap in gaps) / (2 * self.n_))
        return model

    def _draw(self, n: int) -> Codes:
        np.random.seed(int(self.random_.integers(2**31)))  # noqa: NPY002 - mbi draws from NumPy's global source
        rows = self.model_.synthetic_data(n, method="sample").to_dict()
        return np.array([rows[str(i)] for i in range(len(self.sizes_))], dtype=np.int64)


def _spanning_tree(codes: Codes, sizes: tuple[int, ...]) -> list[Clique]:
    from scipy.sparse.csgraph import minimum_spanning_tree

    d = len(codes)
    weights = np.zeros((d, d))
    for i, j in itertools.combinations(range(d), 2):
        keys, cells = join_codes(codes, (i, j), sizes)
        joint = np.bincount(keys, minlength=cells).reshape(sizes[i], sizes[j]) / codes.shape[1]
        apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        inside = joint > 0
        weights[i, j] = -1e-9 - float((joint[inside] * np.log(joint[inside] / apart[inside])).sum())
    return [(int(i), int(j)) for i, j in zip(*minimum_spanning_tree(weights).nonzero(), strict=True)]


def _around(center: int, codes: Codes, sizes: tuple[int, ...]) -> list[Clique]:
    """Pairs of other attributes with the center, each in one, furthest from independence first; a last one alone."""
    found = []
    for pair in itertools.combinations([i for i in range(len(codes)) if i != center], 2):
        keys, cells = join_codes(codes, (*pair, center), sizes)
        joint = np.bincount(keys, minlength=cells).reshape(-1, sizes[center]) / codes.shape[1]
        apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        found.append((float(np.abs(joint - apart).sum()), pair))
    taken: list[Clique] = []
    left = set(range(len(codes))) - {center}
    for _, (i, j) in sorted(found, reverse=True):
        if i in left and j in left:
            taken.append((i, j, center))
            left -= {i, j}
    return [*taken, *((i, center) for i in left)]
