"""The public schedule of batches: a permutation of the records for each epoch, drawn before training, and its loader.

For `ErrorFeedbackEngine`. The proof in `sensitivity` needs batches that do not depend on the data, and a bound on how
often a record is in one: here once an epoch, so k is the number of epochs.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler

from sfumato.errors import InvalidData, ScheduleViolation, UnsupportedSamplingError


class Schedule:
    """Which records are in which step, and how far a training has come in it.

    The loader hands out batches in order, each once; the optimizer takes each at most once. A batch that was handed
    out and not stepped on is gone. So no record is in more than `epochs` steps, whatever the training loop does.

    Parameters
    ----------
    records : int
        Places for records: public.
    batch_size : int
        Records of a step; the last step of an epoch has what is left.
    epochs : int
    random_state : int, optional
        Of the permutations, which may be known to anybody. By default drawn from the system.
    max_physical_batch_size : int, optional
        Hand a step's batch out in parts of at most this many records, to save memory.
    """

    def __init__(
        self,
        records: int,
        batch_size: int,
        epochs: int,
        *,
        random_state: int | None = None,
        max_physical_batch_size: int | None = None,
    ) -> None:
        limit = batch_size if max_physical_batch_size is None else max_physical_batch_size
        named = {"records": records, "batch_size": batch_size, "epochs": epochs, "max_physical_batch_size": limit}
        for name, value in named.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number above 0")
        self.records, self.batch_size, self.epochs = int(records), int(batch_size), int(epochs)
        self.random_state = secrets.randbits(63) if random_state is None else int(random_state)
        self.max_physical_batch_size = max_physical_batch_size
        self.steps_per_epoch = math.ceil(records / batch_size)
        self.steps = self.epochs * self.steps_per_epoch
        self.position = 0  # the step whose batch is handed out next
        self._out: tuple[int, bool] | None = None  # rows of the part that is out, and whether it ends its step

    @property
    def finished(self) -> bool:
        """Whether all batches were handed out."""
        return self.position >= self.steps

    def batch(self, step: int) -> NDArray[np.int64]:
        """Record numbers of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.random_state, epoch]).permutation(self.records)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def parts(self, start: int) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Parts of the batches from step `start` to the end of its epoch, and whether each ends its step."""
        size = self.max_physical_batch_size or self.batch_size
        for step in range(start, (start // self.steps_per_epoch + 1) * self.steps_per_epoch):
            rows = self.batch(step)
            for first in range(0, len(rows), size):
                yield rows[first : first + size], first + size >= len(rows)

    def hand_out(self, rows: int, ends: bool) -> None:
        """Note that the loader gave a part to the training loop."""
        self._out = (rows, ends)
        self.position += ends

    def take(self, rows: int) -> bool:
        """Let the optimizer use the part that is out, once; return whether it ends its step.

        Raises
        ------
        ScheduleViolation
            If nothing is out, or something of another size than the gradients come from.
        """
        if self._out is None:
            raise ScheduleViolation(
                "a step needs a batch of its own from the loader that make_private returned: none was handed out "
                "since the last step"
            )
        expected, ends = self._out
        if rows != expected:
            raise ScheduleViolation(f"the schedule hands out {expected} records here, gradients are of {rows}")
        self._out = None
        return ends


class ScheduledLoader(DataLoader[Any]):
    """A DataLoader over the schedule; an iteration goes on from where the training is, to the end of the epoch."""

    def __init__(self, schedule: Schedule, loader: DataLoader[Any]) -> None:
        self.schedule = schedule
        super().__init__(
            loader.dataset,
            batch_sampler=_Batches(schedule),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
        )

    def __len__(self) -> int:
        return sum(1 for _ in self.schedule.parts(0))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.schedule.finished:
            raise ScheduleViolation(f"all {self.schedule.epochs} epochs of the schedule are used up")
        parts = list(self.schedule.parts(self.schedule.position))
        # Counted as they reach the loop, not as workers fetch them.
        for (rows, ends), batch in zip(parts, super().__iter__(), strict=True):
            self.schedule.hand_out(len(rows), ends)
            yield batch


class _Batches:
    """Record numbers of the parts from the training's place to the end of the epoch: a batch sampler."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __iter__(self) -> Iterator[list[int]]:
        for rows, _ in self._schedule.parts(self._schedule.position):
            yield rows.tolist()


def records_of(loader: DataLoader[Any]) -> tuple[int, int]:
    """Number of records and batch size of a plain loader.

    Raises
    ------
    UnsupportedSamplingError
        If it draws batches by a sampler of its own (Poisson, weighted, with replacement) or streams records.
    """
    dataset: Dataset[Any] = loader.dataset
    sampler = loader.sampler
    plain = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(dataset)  # type: ignore[arg-type]
    )
    if isinstance(dataset, IterableDataset) or loader.batch_size is None or not plain:
        raise UnsupportedSamplingError(
            "data_loader must be a plain DataLoader with a batch_size, shuffled or in order: error feedback has no "
            f"amplification by sampling, got {type(sampler).__name__}"
        )
    return len(dataset), int(loader.batch_size)  # type: ignore[arg-type]
