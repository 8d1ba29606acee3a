"""Running a mechanism many times: batches, exceptions as outputs, and checks that trials are separate.

For the auditor. Its exact tests need independent trials; noise that is used again between calls, or
shared inside one, breaks that and is looked for here (card 31, sections F.0 and G).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.utils.parallel import Parallel, delayed

from sfumato.attacks.bayesian_audit.events import Atom, Event, OfKind
from sfumato.attacks.bayesian_audit.outputs import Outputs, Raised, concatenate, read_outputs
from sfumato.errors import InvalidData

CHUNK = 50_000
_PIECES = 8  # at least so many chunks a side, for as many processes
_PROBE = 64
_SINGLES = 32


class Mechanism(Protocol):
    """Draws n independent outputs for one input; `rng` may be ignored for system randomness."""

    def __call__(self, x: Any, n: int, rng: np.random.Generator, /) -> Any: ...


@dataclass(frozen=True)
class Trials:
    """A mechanism, its random source, whether it must be called for one output at a time, and processes to use."""

    mechanism: Mechanism
    rng: np.random.Generator
    one_by_one: bool = False
    n_jobs: int = 1

    def draw_in_chunks(self, x: Any, n: int) -> Outputs:
        """Outputs of n trials, drawn chunk by chunk, each with a random source of its own: the same for any n_jobs."""
        sizes = chunks(n)
        sources = self.rng.spawn(len(sizes))
        parts = self.spread((replace(self, rng=rng).draw, x, size) for rng, size in zip(sources, sizes, strict=True))
        return concatenate(list(parts))

    def spread(self, tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Results of tasks (function, arguments), in their order, from `n_jobs` processes."""
        if self.n_jobs == 1:
            return (function(*arguments) for function, *arguments in tasks)
        # One task a batch, since a batch would share one copy of the mechanism.
        pool = Parallel(n_jobs=self.n_jobs, return_as="generator", batch_size=1)
        found: Iterator[Any] = pool(delayed(function)(*arguments) for function, *arguments in tasks)
        return found

    def draw(self, x: Any, n: int) -> Outputs:
        """Outputs of n trials; an exception is the output of the trial that raised it."""
        if not self.one_by_one:
            try:
                raw = self.mechanism(x, n, self.rng)
            except Exception:
                pass  # some trial of the batch raised: find out which ones by calling for each
            else:
                return read_outputs(raw, n)
        singles = [self._single(x) for _ in range(n)]
        return concatenate(singles)

    def count(self, x: Any, events: Sequence[Event], n: int) -> npt.NDArray[np.int64]:
        """Count the trials in each event, in chunks of which nothing but the counts is kept."""
        hits = np.zeros(len(events), dtype=np.int64)
        for start in range(0, n, CHUNK):
            outputs = self.draw(x, min(CHUNK, n - start))
            hits += [int(event.contains(outputs, self.rng).sum()) for event in events]
        return hits

    def _single(self, x: Any) -> Outputs:
        try:
            raw = self.mechanism(x, 1, self.rng)
        except Exception as error:
            return read_outputs([Raised(type(error).__name__)], 1)
        return read_outputs(raw, 1)


@dataclass(frozen=True)
class Separation:
    """What a first look says about the independence of trials.

    ``shared``: one call gave one and the same output for all its trials while separate calls differ.
    ``repeated``: separate calls for many trials gave the same varied outputs, in the same order.
    ``constant``: the output that single calls kept giving for each input, if there is one.
    """

    shared: bool
    repeated: bool
    constant: tuple[Event | None, Event | None]


def chunks(n: int) -> list[int]:
    """Sizes of the chunks in which n trials are drawn."""
    size = min(CHUNK, max(_PROBE, -(-n // _PIECES)))
    return [min(size, n - start) for start in range(0, n, size)]


def one_at_a_time(function: Callable[[Any, np.random.Generator], Any]) -> Mechanism:
    """Turn ``function(x, rng) -> output`` into a mechanism; exceptions become outputs."""

    def mechanism(x: Any, n: int, rng: np.random.Generator, /) -> list[Any]:
        found: list[Any] = []
        for _ in range(n):
            try:
                found.append(function(x, rng))
            except Exception as error:
                found.append(Raised(type(error).__name__))
        return found

    return mechanism


def look_for_separation(trials: Trials, pair: tuple[Any, Any]) -> Separation:
    """Call for a few outputs in several ways and compare them."""
    shared = repeated = False
    constants: list[Event | None] = []
    for x in pair:
        singles = concatenate([trials.draw(x, 1) for _ in range(_SINGLES)])
        batches = [trials.draw(x, _PROBE) for _ in range(3)]
        varied = [_distinct(batch) > 1 for batch in batches]
        shared |= not any(varied) and _distinct(concatenate(batches)) > 1
        repeated |= all(varied) and all(_same(batches[0], other) for other in batches[1:])
        constants.append(_constant(singles))
    return Separation(shared, repeated, (constants[0], constants[1]))


def refuse_copied_randomness(trials: Trials, x: Any) -> None:
    """Raise InvalidData if two copies of the mechanism, as two processes would have, give the same varied outputs."""
    first, second = trials.spread((replace(trials, rng=rng).draw, x, _PROBE) for rng in trials.rng.spawn(2))
    again = concatenate([trials.draw(x, 1) for _ in range(_PROBE)])
    if _distinct(again) > 1 and _distinct(first) > 1 and _same(first, second):
        raise InvalidData(
            "the mechanism carries a random source, which each process would copy: let it draw from rng or from the "
            "system, or use n_jobs=1"
        )


def _distinct(outputs: Outputs) -> int:
    return len(np.unique(outputs.rows(), axis=0))


def _same(first: Outputs, second: Outputs) -> bool:
    return first.names == second.names and np.array_equal(first.rows(), second.rows())


def _constant(outputs: Outputs) -> Event | None:
    """The event "this very output" if all outputs are one."""
    if _distinct(outputs) > 1:
        return None
    name, values = outputs.names[int(outputs.kinds[0])], outputs.values[0]
    return OfKind(name) if np.isnan(values).all() else Atom(name, tuple(values.tolist()))
