"""The schedule: public, each record once an epoch, each batch used at most once."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset, WeightedRandomSampler

from sfumato.errors import InvalidData, ScheduleViolation, UnsupportedSamplingError
from sfumato.training.error_feedback import Schedule
from sfumato.training.error_feedback.schedule import ScheduledLoader, records_of

DATA = TensorDataset(torch.arange(10))


def loader(schedule, **keywords):
    return ScheduledLoader(schedule, DataLoader(DATA, batch_size=schedule.batch_size, **keywords))


def seen(batches):
    return [x.tolist() for (x,) in batches]


def test_each_epoch_has_every_record_once_in_an_order_of_its_own():
    schedule = Schedule(10, 4, 3, random_state=1)
    assert schedule.steps == 9
    epochs = [np.concatenate([schedule.batch(s) for s in range(3 * e, 3 * e + 3)]) for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert Schedule(10, 4, 3, random_state=1).batch(5).tolist() == schedule.batch(5).tolist()


def test_the_loader_follows_the_schedule_and_ends_with_it():
    schedule = Schedule(10, 4, 2, random_state=0)
    batches = loader(schedule)
    assert len(batches) == 3
    both = seen(batches) + seen(batches)
    assert both == [schedule.batch(s).tolist() for s in range(6)]
    assert schedule.finished
    with pytest.raises(ScheduleViolation, match="2 epochs"):
        next(iter(batches))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_breaks_off_goes_on_with_the_next_batch(workers):
    """Also where workers have fetched batches ahead."""
    schedule = Schedule(10, 4, 2, random_state=0)
    batches = loader(schedule, num_workers=workers)
    for _ in batches:
        break
    assert schedule.position == 1
    assert seen(batches) == [schedule.batch(s).tolist() for s in (1, 2)]


def test_parts_of_a_batch_end_with_its_last():
    schedule = Schedule(10, 5, 1, random_state=0, max_physical_batch_size=2)
    batches = loader(schedule)
    assert len(batches) == 6
    ends = []
    for (x,) in batches:
        ends.append((len(x), schedule.take(len(x)), schedule.position))
    assert ends == [(2, False, 0), (2, False, 0), (1, True, 1), (2, False, 1), (2, False, 1), (1, True, 2)]


def test_a_batch_is_taken_once_and_whole():
    schedule = Schedule(10, 4, 1)
    with pytest.raises(ScheduleViolation, match="none was handed out"):
        schedule.take(4)
    for _ in loader(schedule):
        with pytest.raises(ScheduleViolation, match="hands out 4 records"):
            schedule.take(8)
        assert schedule.take(4)
        with pytest.raises(ScheduleViolation, match="none was handed out"):
            schedule.take(4)
        break


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(10))


@pytest.mark.parametrize(
    "batches",
    [
        DataLoader(DATA, batch_size=2, sampler=RandomSampler(DATA, replacement=True)),
        DataLoader(DATA, batch_size=2, sampler=RandomSampler(DATA, num_samples=5)),
        DataLoader(DATA, batch_size=2, sampler=WeightedRandomSampler([0.1] * 10, 10)),
        DataLoader(DATA, batch_sampler=[[0, 1], [1, 2]]),
        DataLoader(DATA, batch_size=None),
        DataLoader(Stream(), batch_size=2),
    ],
)
def test_loaders_that_sample_are_refused(batches):
    with pytest.raises(UnsupportedSamplingError, match="data_loader"):
        records_of(batches)


def test_plain_loaders_are_taken():
    assert records_of(DataLoader(DATA, batch_size=3, shuffle=True)) == (10, 3)
    assert records_of(DataLoader(DATA, batch_size=3)) == (10, 3)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (10, 0, 1), (10, 4, 0), (10, 4, 1.5), (10, True, 1)])
def test_sizes_are_whole_numbers_above_0(arguments):
    with pytest.raises(InvalidData, match="whole number"):
        Schedule(*arguments)
