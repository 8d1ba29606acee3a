"""Outputs of any mechanism as categories and numbers, and the features an attack looks at.

For the auditor: exceptions, None, NaN, infinities, strings and shapes are outputs too (card 31, F.0).
Features after StatDP (Ding et al. 2018), DP-Sniper (Bichsel et al. 2021) and Mironov (2012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData

Floats = npt.NDArray[np.float64]

MOST_SORTED = 32  # order statistics of longer outputs cost more than they tell
MISSING = -1.7e308  # stands for NaN where rows are compared
MOST_BITS = 4  # coordinates whose floating-point digits are looked at


@dataclass(frozen=True)
class Outputs:
    """A batch of outputs: ``values`` (n, d), NaN where there is no number, and a category each.

    ``kinds`` indexes ``names``; a name says dtype, shape and anything unusual ("raises KeyError").
    """

    values: Floats
    kinds: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def of_kind(self, name: str) -> npt.NDArray[np.bool_]:
        """Which outputs have the category `name`."""
        if name not in self.names:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(self.kinds == self.names.index(name), dtype=np.bool_)

    def rows(self) -> Floats:
        """Category and numbers side by side; NaN is a number here, so that equal outputs are equal rows."""
        return np.column_stack([self.kinds, np.where(np.isnan(self.values), MISSING, self.values)])

    def columns(self, d: int) -> Floats:
        """Return the first d numbers of each output, padded with NaN."""
        if self.values.shape[1] == d:
            return self.values
        padded = np.full((len(self), d), np.nan)
        shared = min(d, self.values.shape[1])
        padded[:, :shared] = self.values[:, :shared]
        return padded


@dataclass(frozen=True)
class Raised:
    """Stands for an output when the mechanism raised instead."""

    name: str


def read_outputs(raw: Any, n: int) -> Outputs:
    """Encode what a mechanism returned for n trials.

    Raises
    ------
    InvalidData
        If it did not return n outputs.
    """
    raw = raw.to_numpy() if hasattr(raw, "to_numpy") else raw
    sequence = isinstance(raw, (list, tuple)) or (isinstance(raw, np.ndarray) and raw.ndim > 0)
    if not sequence or len(raw) != n:
        raise InvalidData(f"mechanism must return {n} outputs (first axis) when asked for {n}")
    array = _as_array(raw)
    if array is not None and array.dtype.kind in "biuf":
        return _from_numbers(array)
    return _from_objects(list(raw))


def concatenate(parts: Sequence[Outputs]) -> Outputs:
    """One batch out of several."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    d = max(part.values.shape[1] for part in parts)
    kinds = [np.array([names.index(name) for name in part.names])[part.kinds] for part in parts]
    return Outputs(np.concatenate([part.columns(d) for part in parts]), np.concatenate(kinds), names)


def _as_array(raw: Any) -> npt.NDArray[Any] | None:
    if isinstance(raw, np.ndarray):
        return raw
    try:
        return np.asarray(raw) if all(type(each) is type(raw[0]) for each in raw) else None
    except (ValueError, TypeError, KeyError):
        return None


def _from_numbers(array: npt.NDArray[Any]) -> Outputs:
    n, d = len(array), int(np.prod(array.shape[1:]))
    values = array.reshape(n, d).astype(np.float64) if d else np.full((n, 1), np.nan)
    plain = f"{array.dtype} {array.shape[1:]}"
    if d == 0 or np.isfinite(values).all():
        return Outputs(values, np.zeros(n, dtype=np.int64), (plain,))
    counts = np.stack([np.isnan(values), values == np.inf, values == -np.inf]).sum(axis=2)
    patterns, kinds = np.unique(counts, axis=1, return_inverse=True)
    names = tuple(_pattern_name(plain, pattern) for pattern in patterns.T)
    return Outputs(values, kinds.ravel().astype(np.int64), names)


def _pattern_name(plain: str, pattern: npt.NDArray[Any]) -> str:
    parts = [f"{k} x {what}" for k, what in zip(pattern, ("NaN", "+inf", "-inf"), strict=True) if k]
    return f"{plain} with {', '.join(parts)}" if parts else plain


def _from_objects(items: list[Any]) -> Outputs:
    read = [_one(item) for item in items]
    d = max((len(numbers) for _, numbers in read), default=0)
    values = np.full((len(items), max(d, 1)), np.nan)
    names: dict[str, int] = {}
    kinds = np.empty(len(items), dtype=np.int64)
    for row, (name, numbers) in enumerate(read):
        kinds[row] = names.setdefault(name, len(names))
        values[row, : len(numbers)] = numbers
    return Outputs(values, kinds, tuple(names))


def _one(item: Any) -> tuple[str, Floats]:
    nothing = np.empty(0)
    if isinstance(item, Raised):
        return f"raises {item.name}", nothing
    if item is None or isinstance(item, (str, bytes)):
        return repr(item)[:80], nothing
    array = _as_array(item) if isinstance(item, (list, tuple)) else np.asarray(item)
    if array is None or array.dtype.kind not in "biuf":
        return f"{type(item).__name__} {item!r}"[:80], nothing
    one = _from_numbers(array[None])
    return one.names[0], one.values[0]


@dataclass(frozen=True)
class Feature:
    """One number computed from an output; ``d`` is the length of outputs it was made for."""

    name: str
    index: int
    d: int

    def __str__(self) -> str:
        return f"{self.name}[{self.index}]" if self.name in _INDEXED and self.d > 1 else self.name

    def of(self, outputs: Outputs) -> Floats:
        """Compute the feature of each output, shape (n,); NaN where it has none."""
        values = outputs.columns(self.d)
        if self.name in _SUMMARIES:
            return np.asarray(_SUMMARIES[self.name](values), dtype=np.float64)
        return _INDEXED[self.name](values, self.index)


def list_features(d: int, *, integers: bool) -> list[Feature]:
    """Features worth looking at for outputs of d numbers."""
    found = [Feature("output", i, d) for i in range(d)]
    if not integers:
        found += [Feature("lowest set bit", i, d) for i in range(min(d, MOST_BITS))]
    if d > 1:
        found += [Feature("sorted", i, d) for i in range(d if d <= MOST_SORTED else 0)]
        found += [Feature(name, 0, d) for name in _SUMMARIES]
    return found


def lowest_set_bit(values: Floats) -> Floats:
    """Exponent of the lowest set bit of each double; +inf for zero, NaN where not finite."""
    mantissa, exponent = np.frexp(values)
    whole = np.abs(np.ldexp(np.where(np.isfinite(values), mantissa, 0.0), 53)).astype(np.int64)
    lowest = np.log2(np.where(whole == 0, 1, whole & -whole).astype(np.float64))
    found = exponent - 53.0 + lowest
    return np.where(np.isfinite(values), np.where(whole == 0, np.inf, found), np.nan)


def _filled(values: Floats, fill: float) -> Floats:
    return np.where(np.isnan(values), fill, values)


def _distinct(values: Floats) -> Floats:
    ordered = np.sort(np.round(values, 6), axis=1)
    return np.asarray(1.0 + np.sum(np.diff(ordered, axis=1) != 0, axis=1), dtype=np.float64)


_SUMMARIES: dict[str, Callable[[Floats], Any]] = {
    "sum": lambda v: np.nansum(v, axis=1),
    "largest magnitude": lambda v: np.max(_filled(np.abs(v), -1.0), axis=1),
    "argmax": lambda v: np.argmax(_filled(v, -np.inf), axis=1),
    "argmin": lambda v: np.argmin(_filled(v, np.inf), axis=1),
    "count positive": lambda v: np.sum(v > 0, axis=1),
    "count zero": lambda v: np.sum(v == 0, axis=1),
    "count missing": lambda v: np.sum(np.isnan(v), axis=1),
    "count distinct": _distinct,
    "last difference": lambda v: v[:, -1] - v[:, 0],
}
_INDEXED: dict[str, Callable[[Floats, int], Floats]] = {
    "output": lambda v, i: v[:, i],
    "lowest set bit": lambda v, i: lowest_set_bit(v[:, i]),
    "sorted": lambda v, i: np.sort(v, axis=1)[:, i],
}
