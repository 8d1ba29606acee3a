"""One machine's end: exact restoring, the same weights everywhere, replay."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from one_byte import SEED, examples, losses, small_model

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.shared_randomness import Codec, Record, Settings, SharedRandomnessTuner


@pytest.fixture(params=[None, 64], ids=["each its own direction", "pool"])
def settings(request):
    """So every test here is one of the pool of seeds, too."""
    return Settings(SEED, lr=0.02, samples_per_step=4, seed_pool=request.param)


def tuner(settings, **change):
    return SharedRandomnessTuner(small_model(), losses, **{"settings": settings, **change})


def exchange(tuners, steps, data):
    """All machines make steps together."""
    for _ in range(steps):
        step = tuners[0].log_.next_step
        payloads = {t.machine: t.local_step([data[t.machine][:]] * t.settings.samples_per_step) for t in tuners}
        for each in tuners:
            each.apply(step, payloads)


def test_weights_are_restored_to_the_last_bit(settings):
    """In place, +1, -2, +1 would drift: by how much, in the precision of the model, is shown beside it."""
    one = tuner(settings)
    before = one.model[0].weight.detach().clone()
    for _ in range(50):
        one.scalars([examples(0)[:]])
    assert torch.equal(one.model[0].weight, before)
    naive = torch.from_numpy(np.random.default_rng(0).normal(size=1000).astype(np.float16))
    start, z = naive.clone(), torch.from_numpy(np.random.default_rng(1).normal(size=1000).astype(np.float16))
    for _ in range(50):
        naive += 1e-3 * z
        naive -= 2e-3 * z
        naive += 1e-3 * z
    assert not torch.equal(naive, start)


def test_the_scalar_is_the_slope_of_the_loss(settings):
    one = tuner(replace(settings, eps=1e-3))
    batch = examples(0)[:]
    (found,) = one.scalars([batch])
    losses(one.model, batch).mean().backward()
    named = dict(one.model.named_parameters())
    gradient = torch.cat([named[name].grad.ravel() for name in one.trainable.names]).numpy()
    z = one._moved.direction((0, 0, 0))
    assert found == pytest.approx(float(gradient @ z), rel=1e-2, abs=1e-3)


def test_machines_agree_and_the_loss_falls(settings):
    machines = [tuner(settings, machine=u) for u in (0, 2)]
    data = {0: examples(0), 2: examples(1)}
    before = losses(small_model(), data[0][:]).mean()
    exchange(machines, 40, data)
    assert machines[0].weights_hash() == machines[1].weights_hash()
    assert losses(machines[0].model, data[0][:]).mean() < before - 0.05
    assert machines[0].log_.scalar_bytes == 40 * 2 * 4


@pytest.mark.parametrize("codec", [Codec("sign"), Codec("f32"), Codec("int8"), Codec("log8", "stochastic")], ids=str)
def test_other_codecs_agree_too(settings, codec):
    machines = [tuner(replace(settings, codec=codec), machine=u) for u in range(2)]
    exchange(machines, 3, [examples(0), examples(1)])
    assert machines[0].weights_hash() == machines[1].weights_hash()
    assert len(machines[0].log_.records[0].payloads[1]) == codec.length(4)


def test_a_joiner_by_replay_equals_the_others(settings):
    """Machine 2 joins at step 5 of 10, machine 0 leaves at 7: who took part is in the log."""
    data = [examples(k) for k in range(3)]
    machines = [tuner(settings, machine=u) for u in range(2)]
    exchange(machines, 5, data)
    joiner = tuner(settings, machine=2)
    joiner.replay(machines[0].log_.records)
    assert joiner.weights_hash() == machines[0].weights_hash()
    exchange([*machines, joiner], 2, data)
    exchange([machines[1], joiner], 3, data)
    assert joiner.weights_hash() == machines[1].weights_hash() != machines[0].weights_hash()
    late = tuner(settings, machine=7)
    late.replay(joiner.log_.records)
    assert late.weights_hash() == joiner.weights_hash()
    assert [sorted(r.payloads) for r in joiner.log_.records] == [[0, 1]] * 5 + [[0, 1, 2]] * 2 + [[1, 2]] * 3


def test_a_flipped_bit_of_the_log_shows_in_the_next_hash(settings):
    one = tuner(settings)
    exchange([one], 3, [examples(0)])
    *before, last = one.log_.records
    for bit in range(8):
        payload = bytearray(last.payloads[0])
        payload[1] ^= 1 << bit
        other = tuner(settings)
        other.replay([*before, Record(last.step, {0: bytes(payload)})])
        assert other.weights_hash() != one.weights_hash()


def test_half_precision_models_keep_float32_weights(settings):
    """Updates far below an ulp of bfloat16 add up."""
    one = SharedRandomnessTuner(small_model().bfloat16(), losses, settings=settings)
    before = one.weights
    small = Codec().encode([0.01] * 4)
    for step in range(5):
        one.apply(step, {0: small})
    assert not (one.weights == before).any()
    assert one.model[0].weight.dtype == torch.bfloat16


def test_trainable_parameters_are_chosen_and_ordered_by_name(settings):
    model = small_model()
    model.register_parameter("again", model[0].weight)  # tied: it counts once
    one = SharedRandomnessTuner(model, lambda m, b: losses(m, b), settings=settings)
    assert one.trainable.size == sum(p.numel() for p in small_model().parameters())
    assert one.trainable.names == sorted(one.trainable.names)
    last = SharedRandomnessTuner(small_model(), losses, settings=replace(settings, trainable=r"^2\."))
    assert last.trainable.names == ["2.bias", "2.weight"]
    first = last.model[0].weight.clone()
    exchange([last], 2, [examples(0)])
    assert torch.equal(last.model[0].weight, first)
    frozen = small_model()
    frozen[0].weight.requires_grad_(False)
    assert "0.weight" not in SharedRandomnessTuner(frozen, losses, settings=settings).trainable.names


WORKER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from one_byte import SEED, examples, losses, small_model
from sfumato.federation.shared_randomness import Settings, SharedRandomnessTuner
torch.set_num_threads(2)
settings = Settings(SEED, lr=0.02, samples_per_step=4, seed_pool=eval(sys.argv[3]))
t = SharedRandomnessTuner(small_model(), losses, settings=settings, log=sys.argv[2], threads=2)
while True:
    t.apply(t.log_.next_step, {0: t.local_step([examples(0)[:]] * 4), 1: bytes([70, 200, 80, 128])})
    print(t.log_.next_step, t.weights_hash(), flush=True)
"""


@pytest.mark.slow
def test_two_processes_agree_step_by_step_and_one_that_is_killed_goes_on(settings, tmp_path):
    """Theirs has two threads, ours one; it is killed after step 100, wherever it is then."""
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(tmp_path / "log"), str(settings.seed_pool)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    one = tuner(settings)
    for step in range(100):
        assert process.stdout is not None
        theirs = process.stdout.readline().split()
        one.apply(step, {0: one.local_step([examples(0)[:]] * 4), 1: bytes([70, 200, 80, 128])})
        assert theirs == [str(step + 1), one.weights_hash()]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with open(tmp_path / "log", "ab") as file:
        file.write(b"\x21\0")  # a torn record besides
    again = tuner(settings, log=tmp_path / "log")
    assert again.log_.next_step >= 100
    joiner = tuner(settings)
    joiner.replay(again.log_.records)
    assert joiner.weights_hash() == again.weights_hash()
    one.replay(again.log_.records[:100])
    for record in again.log_.records[100:]:
        one.apply(record.step, record.payloads)
    assert one.weights_hash() == again.weights_hash()


def test_what_is_not_finite_is_skipped_and_counted(settings):
    def broken(model, batch):
        return losses(model, batch) * (torch.nan if batch[0][0, 0] > 100 else 1.0)

    one = SharedRandomnessTuner(small_model(), broken, settings=settings)
    good, bad = examples(0)[:], (torch.full((2, 6), 1e3), torch.zeros(2, dtype=torch.long))
    payload = one.local_step([good, bad, good, bad])
    assert payload[1] == payload[3] == 0x80 != payload[0]
    assert one.skipped_ == 2
    one.apply(0, {0: payload})
    assert np.isfinite(one.weights).all()
    one.apply(1, {0: b"\x80" * 4})  # nothing counts: nothing moves
    assert np.isfinite(one.weights).all()


def test_what_is_too_large_is_counted_and_said(settings):
    one = SharedRandomnessTuner(small_model(), lambda m, b: 1e4 * losses(m, b), settings=settings)
    with pytest.warns(RuntimeWarning, match="cut off"):
        one.local_step([examples(0)[:]] * 4)
    assert one.saturated_ > 0


def test_nothing_is_promised_without_privacy(settings):
    assert not tuner(settings).claim_.formal
    assert "linear measurement" in str(tuner(settings).claim_)


def test_bad_input_is_named_and_changes_nothing(settings):
    one = tuner(settings)
    before = one.weights_hash()
    with pytest.raises(ProtocolError, match=r"machine 3, step 0: 4 scalars take 4 bytes, got 5"):
        one.apply(0, {0: b"abcd", 3: b"abcde"})
    with pytest.raises(ProtocolError, match="expects step 0, got 1"):
        one.apply(1, {0: b"abcd"})
    with pytest.raises(InvalidData, match="4 batches, got 1"):
        one.local_step([examples(0)[:]])
    with pytest.raises(InvalidData, match="tensor of losses"):
        SharedRandomnessTuner(small_model(), lambda m, b: 1.0, settings=settings).local_step([None] * 4)
    with pytest.raises(InvalidData, match="the state must be"):
        one.resume(0, np.zeros(3, np.float32))
    assert one.weights_hash() == before
    with pytest.raises(InvalidData, match="evaluation mode"):
        SharedRandomnessTuner(small_model().train(), losses, settings=settings)
    with pytest.raises(InvalidData, match="leaves no parameter"):
        tuner(replace(settings, trainable="lora_"))
    with pytest.raises(InvalidData, match="regular expression"):
        tuner(replace(settings, trainable="("))
    with pytest.raises(InvalidData, match="machine"):
        tuner(settings, machine=-1)
    for change in (
        {"eps": 0},
        {"lr": float("nan")},
        {"samples_per_step": 0},
        {"average": "sum"},
        {"codec": "log8"},
        {"seed_pool": 0},
    ):
        with pytest.raises(InvalidData):
            replace(settings, **change)


def test_other_weights_or_another_codec_are_refused_on_restart(settings, tmp_path):
    exchange([tuner(settings, log=tmp_path / "log")], 1, [examples(0)])
    other = small_model()
    with torch.no_grad():
        other[0].weight[0, 0] += 1e-6
    with pytest.raises(InvalidData, match="base_hash differ"):
        SharedRandomnessTuner(other, losses, settings=settings, log=tmp_path / "log")
    with pytest.raises(InvalidData, match="codec differ"):
        tuner(replace(settings, codec=Codec("f32")), log=tmp_path / "log")
    with pytest.raises(InvalidData, match="is a file"):
        tuner(settings, log=tmp_path / "log").replay([])
