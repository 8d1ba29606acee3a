"""A synthesizer that keeps marginals, as a target: a graphical model fitted by the package mbi to exact counts.

For the study of system 10. After MST (McKenna, Miklau, Sheldon, "Winning the NIST Contest", 2021) and AIM (McKenna,
Mullins, Sheldon, Miklau, VLDB 2022), without their noise: what is attacked is what marginals themselves give away.
"""

from __future__ import annotations

import itertools
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sfumato.attacks.reconstruction.encoding import Codebook, Codes
from sfumato.attacks.reconstruction.queries import join_codes
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim

Clique = tuple[int, ...]

_LARGEST_MODEL = 20.0  # megabytes of the junction tree, beyond which AIM would not take a marginal either
_PROBE_ROWS = 20_000  # drawn from the model to see which marginal it gets wrong most
_STEPS = 300
_A_ROUND = 4  # marginals taken at once: a fit costs most of the time


def installed() -> bool:
    """Whether mbi, which this room needs, is there."""
    return find_spec("mbi") is not None


class MarginalSynthesizer(BaseEstimator):  # type: ignore[misc]
    """Draws rows from the graphical model of greatest entropy that has some exact marginals of the data.

    Parameters
    ----------
    choice : {"tree", "adaptive"}
        "tree": the pairs of a spanning tree of greatest mutual information (MST). "adaptive": round by round the four
        sets of three attributes whose counts the model gets most wrong, if the model stays small (AIM takes one).
    rounds : int, default 2
        Of the adaptive choice.
    random_state : int, optional

    Attributes
    ----------
    cliques_ : list of tuple of int
        Attributes of each marginal that was kept.
    misfit_ : float
        Mean total variation distance of the model's marginals from them: 0 if the fit has converged.
    """

    def __init__(
        self, choice: Literal["tree", "adaptive"] = "tree", *, rounds: int = 2, random_state: int | None = None
    ) -> None:
        self.choice = choice
        self.rounds = rounds
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
        cliques: list[Clique] = [(i,) for i in range(len(codes))]
        if self.choice == "tree":
            cliques += _spanning_tree(codes, self.sizes_)
        self.model_ = self._estimate(codes, cliques, None)
        for _ in range(self.rounds if self.choice == "adaptive" else 0):
            cliques += self._worst(codes, cliques)
            self.model_ = self._estimate(codes, cliques, self.model_)
        self.cliques_ = cliques
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        codes = self._draw(n)
        names = list(self.codebook_.values)
        return pd.DataFrame({name: self.codebook_.values[name][code] for name, code in zip(names, codes, strict=True)})

    def _estimate(self, codes: Codes, cliques: list[Clique], start: Any) -> Any:
        mbi, domain = import_module("mbi"), self._domain()
        measurements = []
        for clique in cliques:
            keys, cells = join_codes(codes, clique, self.sizes_)
            counts = np.bincount(keys, minlength=cells).astype(np.float64)
            measurements.append(mbi.LinearMeasurement(counts, clique=tuple(map(str, clique))))
        model = mbi.estimation.MirrorDescent().estimate(
            domain, measurements, known_total=float(self.n_), iters=_STEPS, warm_start=start
        )
        gaps = [np.asarray(model.project(m.clique).datavector()) - m.noisy_measurement for m in measurements]
        self.misfit_ = float(np.mean([np.abs(gap).sum() for gap in gaps]) / (2 * self.n_))
        return model

    def _worst(self, codes: Codes, cliques: list[Clique]) -> list[Clique]:
        """Sets of three attributes whose counts differ most from the model's, among those that keep it small."""
        junction_tree = import_module("mbi").junction_tree
        drawn, errors = self._draw(_PROBE_ROWS), []
        for triple in itertools.combinations(range(len(codes)), 3):
            (ours, cells), (theirs, _) = (join_codes(each, triple, self.sizes_) for each in (codes, drawn))
            gap = np.bincount(ours, minlength=cells) - np.bincount(theirs, minlength=cells) * self.n_ / _PROBE_ROWS
            errors.append((float(np.abs(gap).sum()), triple))
        taken: list[Clique] = []
        for _, triple in sorted(errors, reverse=True):
            proposed = [tuple(map(str, each)) for each in [*cliques, *taken, triple]]
            small = junction_tree.hypothetical_model_size(self._domain(), proposed) < _LARGEST_MODEL
            if small and triple not in cliques:
                taken.append(triple)
            if len(taken) == _A_ROUND:
                break
        return taken

    def _domain(self) -> Any:
        return import_module("mbi").Domain([str(i) for i in range(len(self.sizes_))], list(self.sizes_))

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
