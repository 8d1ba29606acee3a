"""The pool of seeds: weights are a function of K sums, whoever makes them and when."""

from dataclasses import replace

import numpy as np
import pytest
from one_byte import SEED, examples, losses, small_model

from sfumato.errors import InvalidData
from sfumato.federation import InProcess
from sfumato.federation.shared_randomness import Directions, Settings, SharedRandomnessProtocol, SharedRandomnessTuner
from sfumato.federation.shared_randomness.movement import Pool, Walk

POOLED = Settings(SEED, lr=0.02, samples_per_step=4, seed_pool=16)


def test_weights_are_the_base_less_each_direction_times_its_sum():
    base = np.random.default_rng(0).normal(size=100).astype(np.float32)
    pool = Pool(base, Directions(SEED), 8)
    moves = [((t, u, j), 0.1 * (t + 1) - 0.05 * j) for t in range(3) for u in range(2) for j in range(4)]
    for step in range(3):
        pool.add(moves[8 * step : 8 * step + 8])
    sums, expected = np.zeros(8), base.copy()
    for address, length in moves:
        sums[pool.place(address)] += length
    for k in range(8):
        expected -= Directions(SEED).draw(0, 0, k, 100) * np.float32(sums[k])
    assert pool.weights.tobytes() == expected.tobytes()
    assert pool.state.tobytes() == sums.tobytes()
    at_once = Pool(base, Directions(SEED), 8)
    at_once.add(moves)
    assert at_once.weights.tobytes() == expected.tobytes()


def test_a_machines_scalars_of_a_step_have_distinct_directions_and_all_are_used():
    pool = Pool(np.zeros(1, np.float32), Directions(SEED), 16)
    places = [[pool.place((t, u, j)) for j in range(16)] for t in range(20) for u in range(3)]
    assert all(sorted(each) == list(range(16)) for each in places)
    assert len({each[0] for each in places}) > 8


def test_a_long_log_costs_no_more_directions_than_the_pool_has(monkeypatch):
    drawn = []
    original = Directions.subtract
    monkeypatch.setattr(
        Directions, "subtract", lambda self, w, moves: (drawn.append(len(moves)), original(self, w, moves))
    )
    for size, most in ((16, 16), (None, 4 * 50)):
        tuner = SharedRandomnessTuner(small_model(), losses, settings=replace(POOLED, seed_pool=size))
        for step in range(50):
            tuner.apply(step, {0: bytes([70, 80, 190, 90])})
        records = tuner.log_.records
        late = SharedRandomnessTuner(small_model(), losses, settings=tuner.settings)
        drawn.clear()
        late.replay(records)
        assert max(drawn) == most
        assert late.weights_hash() == tuner.weights_hash()


def test_a_silo_of_a_pool_keeps_its_sums_and_no_weights():
    made = SharedRandomnessProtocol(small_model(), losses, settings=POOLED, steps=6, hash_every=2)
    outcome = InProcess().run(made, [examples(0), examples(1)])
    assert outcome.result.disagreements == 0
    joiner = SharedRandomnessTuner(small_model(), losses, settings=POOLED)
    joiner.replay(outcome.result.log.records)
    assert joiner.weights_hash() == outcome.result.weights_hash
    assert joiner.state.nbytes == 8 * 16
    again = SharedRandomnessTuner(small_model(), losses, settings=POOLED)
    again.resume(6, joiner.state)
    assert again.weights_hash() == joiner.weights_hash()


def test_the_loss_falls_within_a_pool_and_another_pool_is_another_run(tmp_path):
    settings = replace(POOLED, seed_pool=64)
    tuner = SharedRandomnessTuner(small_model(), losses, settings=settings, log=tmp_path / "log")
    batch = examples(0)[:]
    before = losses(tuner.model, batch).mean()
    for step in range(40):
        tuner.apply(step, {0: tuner.local_step([batch] * 4)})
    assert losses(tuner.model, batch).mean() < before - 0.05
    with pytest.raises(InvalidData, match="seed_pool differ"):
        SharedRandomnessTuner(small_model(), losses, settings=replace(settings, seed_pool=32), log=tmp_path / "log")


@pytest.mark.parametrize("kind", [Walk, lambda base, directions: Pool(base, directions, 3)], ids=["walk", "pool"])
def test_a_state_of_another_shape_or_dtype_is_refused(kind):
    made = kind(np.zeros(3, np.float32), Directions(SEED))
    for bad in (np.zeros(4, made.state.dtype), np.zeros(3, np.int64)):
        with pytest.raises(InvalidData, match="the state must be"):
            made.restore(bad)
