"""QuantizedMean: vectors of many clients, quantised coordinate by coordinate, with the claim of the whole vector.

For federated means and gradients. The quantisers are those of Youn et al. 2023 and Chen et al. 2022; the composed
bound is ours, where the paper states the divergence of one coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.quantization import aggregate
from sfumato.federation.quantization.curve import vector_rdp
from sfumato.federation.quantization.divergence import Floats
from sfumato.federation.quantization.mechanisms import Mechanism, Norm
from sfumato.federation.quantization.rotation import padded, rotate, rotate_back
from sfumato.privacy.accounting import ORDERS
from sfumato.privacy.bounds import RenyiDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.quantized import FRACTION_BITS
from sfumato.privacy.release import Release

#: Rényi orders of vectors' claims: a few of those on which the accountant composes.
VECTOR_ORDERS = tuple(
    ORDERS[np.unique(np.searchsorted(ORDERS, [1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 6, 8, 16, 32, 64]))]
    .astype(float)
    .tolist()
)

_FLOAT_ERROR = 1e-12  # relative; of a norm, a factor and a rotation in float64


def coordinate_clip(l2_clip: float, dimension: int, *, excess: float = 1e-3) -> float:
    """A clip that a rotated vector exceeds in any coordinate with probability of at most `excess`.

    A coordinate of a vector of norm C after random signs and Hadamard is sub-Gaussian with variance C²/d, d the padded
    dimension: C min(1, sqrt(2 ln(2d / excess) / d)). Only accuracy depends on it: what exceeds it is clamped.
    """
    size = padded(dimension)
    return float(l2_clip * min(1.0, math.sqrt(2 * math.log(2 * size / excess) / size)))


@dataclass(frozen=True)
class Price:
    """What one coordinate costs, as in the paper, and what a client's whole vector does.

    Attributes
    ----------
    alpha : float
    per_coordinate : float
        One coordinate in one round, the worst others that a search found: comparable with published curves.
    vector : float
        All coordinates in one round, proved for any others.
    all_rounds : float
    """

    alpha: float
    per_coordinate: float
    vector: float
    all_rounds: float

    def __str__(self) -> str:
        return (
            f"Rényi ε at order {self.alpha:g}: {self.per_coordinate:.4g} a coordinate and round, "
            f"{self.vector:.4g} a vector, {self.all_rounds:.4g} over all rounds"
        )


@dataclass(frozen=True)
class QuantizedMean:
    """Quantise each coordinate of clients' vectors; estimate their mean from the sum of the reports.

    *Who is protected, and why.* Neighbours replace one client's whole vector by any other. Given the vectors, all
    coordinates are reported independently, with levels kept afresh for each, so Rényi divergences of coordinates add.

    - ``clip="linf"``: each coordinate is clipped to [-c, c], and all d may move from one end to the other: d times the
      divergence of one coordinate.
    - ``clip="l2"``: the vector is scaled down to norm C if it is longer; padded with zeros, multiplied by public signs
      and a Hadamard matrix (`rotation=True`); then each coordinate is clamped to [-c, c] and reported. Two vectors of
      norm at most C are at most 2C apart. Padding, signs and the orthonormal matrix are one fixed linear isometry,
      chosen by a public seed and not by the data, so they stay at most 2C apart. Clamping to the cube [-c, c]^d is the
      projection onto a convex set and moves no two points further apart, *whatever* the seed: how many coordinates it
      cuts off, which depends on the vector, is seen by nobody and assumed nowhere. So what is reported moves by at most
      2C in l2 and by at most 2c in each coordinate, which is what `vector_rdp` asks for. The rotation is for accuracy:
      without it the same bound holds, and clamping would cut off more. Rounding in floats is paid for: 2C is widened
      by the fixed-point resolution of all coordinates and by a relative 1e-12.

    *What is seen.* `claim` is about one client's reports in the open. `aggregate_claim` is about the sum over clients,
    of whom at least `honest` do not collude with whoever sees the sum; it holds under secure summation only.

    Parameters
    ----------
    mechanism : RQM or PBM
        Of each coordinate; its clip is c. See `coordinate_clip`.
    dimension : int
        d, of the vectors.
    clip : {"l2", "linf"}
    l2_clip : float, optional
        C; needed for "l2".
    rotation : bool
        Only for "l2".
    seed : int
        Of the rotation. Public.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    mechanism: Mechanism
    dimension: int
    clip: Norm = "l2"
    l2_clip: float | None = None
    rotation: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.dimension, bool) or not isinstance(self.dimension, int) or self.dimension < 1:
            raise InvalidData(f"dimension must be an integer of at least 1, got {self.dimension!r}")
        if self.clip not in ("l2", "linf"):
            raise InvalidData(f'clip must be "l2" or "linf", got {self.clip!r}')
        if self.clip == "l2" and (self.l2_clip is None or not 0 < self.l2_clip < math.inf):
            raise InvalidData(f"l2_clip must be finite and above 0, got {self.l2_clip!r}")
        if self.clip == "linf" and self.l2_clip is not None:
            raise InvalidData("l2_clip is for clip='l2': 'linf' takes the mechanism's clip")

    @property
    def rotated(self) -> bool:
        """Whether vectors are rotated."""
        return self.clip == "l2" and self.rotation

    @property
    def size(self) -> int:
        """Coordinates of a report: `dimension`, or the next power of two."""
        return padded(self.dimension) if self.rotated else self.dimension

    @property
    def claim(self) -> Claim:
        """What a client is promised about its vector when its reports are seen: local privacy."""
        return self.local_claim()

    def local_claim(self, rounds: int = 1) -> Claim:
        """What a client is promised that reports `rounds` vectors in the open."""
        return self._claim(None, rounds)

    def aggregate_claim(self, honest: int, rounds: int = 1) -> Claim:
        """What a client is promised when only sums are seen, each of at least `honest` honest clients' reports.

        Parameters
        ----------
        honest : int
            Clients in each sum that do not collude with those who see it, the protected one included. Drop-outs and
            colluders do not count.
        rounds : int
            Sums that the client takes part in, with other vectors or the same.

        Raises
        ------
        InvalidClaim
            For PBM: no bound for arbitrary others is proved here.
        """
        if isinstance(honest, bool) or not isinstance(honest, int) or honest < 1:
            raise InvalidClaim(f"honest must be an integer of at least 1, got {honest!r}")
        return self._claim(honest, rounds)

    def price(self, alpha: float = 2.0, *, honest: int | None = None, rounds: int = 1) -> Price:
        """Rényi ε of a coordinate and of the vector side by side."""
        one = self.mechanism.renyi(alpha, honest or 1)
        vector = float(self.rdp(honest, (alpha,))[0])
        return Price(alpha, one, vector, rounds * vector)

    def rdp(self, honest: int | None = None, orders: tuple[float, ...] = VECTOR_ORDERS) -> Floats:
        """Rényi divergence of a client's whole vector in one round, shape (len(orders),)."""
        return np.array(_rdp(self, None if honest == 1 else honest, orders))

    def encode(self, vectors: ArrayLike, *, honest: int | None = None) -> NDArray[np.uint8]:
        """Report vectors of as many clients, in a release under `claim`, or under `aggregate_claim(honest)`.

        Parameters
        ----------
        vectors : array_like of float, shape (n, dimension)
        honest : int, optional
            For reports that go into a secure sum of at least so many honest clients, and nowhere else.

        Returns
        -------
        ndarray of uint8, shape (n, size)

        Raises
        ------
        InvalidData
            If the shape is another, or an entry is NaN or infinite.
        """
        values = np.asarray(vectors, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.dimension:
            raise InvalidData(f"vectors must have shape (n, {self.dimension}), got {values.shape}")
        if not np.all(np.isfinite(values)):
            raise InvalidData("vectors must be finite")
        claim = self.claim if honest is None else self.aggregate_claim(honest)
        coordinates = self.prepare(values)
        name = type(self.mechanism).__name__
        with Release(claim, purpose=f"{name}, {self.dimension} coordinates a client") as release:
            noise = release.prepaid(claim.bound)
            reach = 2 * self.mechanism.clip if self.clip == "linf" else self._reach
            return self.mechanism.perturb(coordinates, noise, sensitivity=reach, norm=self.clip)

    def prepare(self, vectors: Floats) -> Floats:
        """Clip and rotate: what each coordinate's quantiser clamps and reports, shape (n, size)."""
        if self.clip == "linf":
            return np.clip(vectors, -self.mechanism.clip, self.mechanism.clip)
        assert self.l2_clip is not None  # checked
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
        scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)  # no overflow of squares
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)  # of what has entries of at most 1
        long = norms > self.l2_clip / np.maximum(largest, np.finfo(float).tiny)
        clipped = np.where(long, scaled * (self.l2_clip / np.maximum(norms, 1.0)), vectors)
        return rotate(clipped, self.seed) if self.rotated else clipped

    def decode_sum(self, total: ArrayLike, n: int) -> Floats:
        """Mean of n clients' vectors, estimated from the sum of their reports.

        Parameters
        ----------
        total : array_like of int, shape (size,)
        n : int

        Returns
        -------
        ndarray of float64, shape (dimension,)

        Raises
        ------
        ProtocolError
            If no n reports have such a sum.
        """
        sums = np.asarray(total)
        if sums.shape != (self.size,):
            raise InvalidData(f"total must have shape ({self.size},), got {sums.shape}")
        means = self.mechanism.decode_sum(sums, n)
        return rotate_back(means, self.dimension, self.seed) if self.rotated else means

    @property
    def _reach(self) -> float:
        assert self.l2_clip is not None  # only asked for l2
        resolution = float(self.mechanism.unit / 2**FRACTION_BITS)
        return 2 * self.l2_clip * (1 + _FLOAT_ERROR) + math.sqrt(self.size) * resolution

    def _claim(self, honest: int | None, rounds: int) -> Claim:
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise InvalidClaim(f"rounds must be an integer of at least 1, got {rounds!r}")
        seen = "the clip, the rotation and all parameters are public"
        summed = f"only sums of the reports of at least {honest} honest clients are seen (secure summation)"
        return Claim(
            RenyiDP(VECTOR_ORDERS, tuple((rounds * self.rdp(honest)).tolist())),
            unit="user",
            neighbours="replace-one",
            trust="local" if honest is None else "silo",
            assumptions=(seen,) if honest is None else (seen, summed),
        )


@lru_cache(maxsize=256)
def _rdp(mean: Any, honest: int | None, orders: tuple[float, ...]) -> tuple[float, ...]:
    mechanism = mean.mechanism
    if honest is not None and not mechanism.affine:
        raise InvalidClaim(f"{type(mechanism).__name__} has no bound here for others that hold anything: use RQM")
    if mean.clip == "l2":
        return tuple(vector_rdp(mechanism, orders, mean._reach, mean.size, honest).tolist())
    others: aggregate.Others = "worst" if honest is None else "certified"
    return tuple(mean.size * aggregate.renyi(mechanism, order, honest or 1, others) for order in orders)
