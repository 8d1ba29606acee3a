"""Seconds a scalar and a replayed scalar beside MeZO's in-place perturbation in torch, and bytes; prints the ratios.

`pytest benchmarks/test_shared_randomness.py -s`. The peer is the loop of MeZO (Malladi et al. 2023), written out: seed
torch's generator, add eps·z in place, evaluate, take 2·eps·z away, evaluate, add eps·z again; its weights drift.
Processor time, one thread, on a machine shared with others (two cores, load 7 to 10), batch of 8; range of two runs.
3,610 weights: a scalar 0.3 ms (MeZO 7 times as long), a replayed one 0.04 ms (12 to 24); 1.06 M: 9.6 to 12.4 ms (1.3
to 1.7), 2.0 to 2.6 ms (1.8 to 2.6); 8.4 M: 52 to 61 ms (3.1 to 3.2), 16 to 22 ms (3.1 to 3.2). Until directions came
from a table of quantiles they came from NumPy's Philox and ziggurat, and a replayed scalar took 13.4 ms and 107 ms at
the latter two (0.4 and 0.5 times MeZO's speed). A log of 900 scalars, 1.06 M weights: 1.77 s, with a pool of 256 seeds
0.49 s, of 64 0.12 s; but a step of 30 scalars 57 ms, 528 ms and 122 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from sfumato.federation.shared_randomness import Codec, Record, Settings, SharedRandomnessTuner

SEED = "42" * 32
SIZES = [(64, 48), (1024, 1024), (2048, 4096)]


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of one thread, which a busy machine changes least."""
    work()
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - start) / repeats)
    return best


def loss(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def built(inputs: int, hidden: int) -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)).eval()
    return model, (torch.randn(8, inputs), torch.randint(0, 10, (8,)))


def perturb_in_place(model: torch.nn.Module, seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=scale)


def mezo_scalar(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor], eps: float = 1e-3) -> float:
    with torch.no_grad():
        perturb_in_place(model, 7, eps)
        above = float(loss(model, batch).mean())
        perturb_in_place(model, 7, -2 * eps)
        below = float(loss(model, batch).mean())
        perturb_in_place(model, 7, eps)
    return (above - below) / (2 * eps)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_scalar_and_its_replay_beside_mezo(size, capsys):
    model, batch = built(*size)
    tuner = SharedRandomnessTuner(model, loss, settings=Settings(SEED, samples_per_step=1))
    repeats = 200 if tuner.trainable.size < 10_000 else 3
    log = [Record(step, {0: Codec().encode([0.5])}) for step in range(10)]
    own = seconds(lambda: tuner.scalars([batch]), repeats)
    replay = seconds(lambda: tuner.replay(log), repeats) / len(log)
    peer = seconds(lambda: mezo_scalar(model, batch), repeats)
    with torch.no_grad():
        update = seconds(lambda: perturb_in_place(model, 7, -1e-6), repeats)
    with capsys.disabled():
        print(
            f"\n{tuner.trainable.size:,} weights: a scalar {1e3 * own:.2f} ms, MeZO in place {1e3 * peer:.2f} ms "
            f"({peer / own:.2f}×); a replayed scalar {1e3 * replay:.2f} ms, MeZO's update {1e3 * update:.2f} ms "
            f"({update / replay:.2f}×); 1 byte instead of {4 * tuner.trainable.size:,}"
        )


def test_a_long_log_replayed_with_a_pool_of_seeds(capsys):
    """FedKSeed's rule against ours, each direction its own; both end at the weights of those who took part."""
    model, _ = built(*SIZES[1])
    log = [Record(step, {0: Codec().encode([0.5] * 30)}) for step in range(30)]
    told = []
    for pool in (None, 256, 64):
        settings = Settings(SEED, samples_per_step=30, seed_pool=pool)
        tuner = SharedRandomnessTuner(model, loss, settings=settings)
        whole = seconds(lambda: tuner.replay(log), 1)  # noqa: B023
        with_one = SharedRandomnessTuner(model, loss, settings=settings)
        with_one.replay(log)
        last = seconds(lambda: with_one.apply(with_one.log_.next_step, {0: Codec().encode([0.5] * 30)}), 1)  # noqa: B023
        told.append(f"{'each its own' if pool is None else f'K = {pool}'}: {whole:.2f} s, a step {1e3 * last:.0f} ms")
    with capsys.disabled():
        print(f"\n{tuner.trainable.size:,} weights, a log of 900 scalars replayed, S = 30: {'; '.join(told)}")
