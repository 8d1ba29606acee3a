"""The engine beside Flower's own parts, each pair in one run; prints the ratios.

`pytest benchmarks/test_federation.py -s`. Measured on one idle core. A message of 10^6 floats: Flower's `ArrayRecord`
to protobuf and back took 3.3 times as long. A round of 10 silos: as Flower apps in this process 3.5 times (10^5
floats) to 8 times (10 floats). Masks: the generator of Flower's SecAgg+, which uses 32 bits of the key, 2.8 times;
ours uses all 256. Rounds of 4 silos with 10^5 floats, two idle cores: 92 a second in process, 3.9 on Ray.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sfumato.federation import InProcess, Message
from sfumato.federation.flower import Simulation, run_locally, to_client_app, to_server_app
from sfumato.federation.secure_sum import Contribution, SecureSum, make_signing_key
from sfumato.federation.secure_sum.masks import mask

pytest.importorskip("flwr")


def best(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of the quickest of some runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


@dataclass(frozen=True)
class Averaging:
    """Ten rounds of a vector there and back."""

    length: int
    rounds: int = 10
    name: str = "averaging"
    version: int = 1

    def config(self) -> Mapping[str, Any]:
        return {"length": self.length}

    def start(self) -> Mapping[str, Any]:
        return {"round": 0, "mean": np.zeros(self.length)}

    def requests(self, state: Any, parties: tuple[int, ...]) -> Mapping[int, Any]:
        return {party: {"mean": state["mean"]} for party in parties}

    def check_reply(self, state: Any, party: int, reply: Any) -> None:
        reply.array("mean", dtype=float, shape=(self.length,))

    def server_step(self, state: Any, replies: Mapping[int, Any]) -> Mapping[str, Any]:
        return {"round": state["round"] + 1, "mean": np.mean([reply["mean"] for reply in replies.values()], axis=0)}

    def finished(self, state: Any) -> bool:
        return bool(state["round"] == self.rounds)

    def result(self, state: Any) -> Any:
        return state["mean"]

    def client_step(self, request: Any, memory: Any, data: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return {"mean": (request["mean"] + data) / 2}, {}


def test_a_message_beside_flowers_records(capsys):
    from flwr.app import ArrayRecord, RecordDict
    from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

    array = np.random.default_rng(0).normal(size=1_000_000)

    def theirs():
        proto = recorddict_to_proto(RecordDict({"arrays": ArrayRecord([array])})).SerializeToString()
        return recorddict_from_proto(type(recorddict_to_proto(RecordDict())).FromString(proto))

    ours = best(lambda: Message.from_bytes(Message({"update": array}).to_bytes()))
    flower = best(lambda: theirs()["arrays"].to_numpy_ndarrays())
    with capsys.disabled():
        print(
            f"\n10^6 floats there and back, checked to be finite both ways: {1e3 * ours:.1f} ms; "
            f"Flower's records {1e3 * flower:.1f} ms, unchecked ({flower / ours:.2f} times as long)"
        )


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_run_beside_the_same_as_flower_apps(length, capsys, tmp_path):
    protocol, data = Averaging(length), [float(k) for k in range(10)]
    ours = best(lambda: InProcess().run(protocol, data), times=3) / 100

    def flower():
        flower.runs += 1
        client = to_client_app([protocol], lambda _, config: data[config["partition-id"]], store_folder=tmp_path)
        config = {"parties": 10, "min-parties": 0, "timeout": 60, "run": str(flower.runs), "state-dir": ""}
        run_locally(to_server_app([protocol]), client, [{"partition-id": k} for k in range(10)], config)

    flower.runs = 0
    apps = best(flower, times=3) / 100
    with capsys.disabled():
        print(
            f"\na message and its answer, {length} floats, 10 silos, 10 rounds: {1e3 * ours:.2f} ms in process; "
            f"as Flower apps with stores on disk {1e3 * apps:.2f} ms ({apps / ours:.1f} times as long)"
        )


@pytest.mark.parametrize("length", [10, 100_000])
def test_rounds_per_second_beside_ray(length, capsys):
    ray = pytest.importorskip("ray", reason="pip install 'sfumato[federation-ray]'")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import this file
    protocol, data = Averaging(length, rounds=50), [float(k) for k in range(4)]
    rates = {}
    for name, runtime in (("in process", InProcess()), ("Ray", Simulation())):
        start = time.perf_counter()
        outcome = runtime.run(protocol, data)
        whole = time.perf_counter() - start
        # The first wave waits for actors to start.
        rates[name] = 49 / sum(wave.seconds for wave in outcome.history[1:]), whole
    with capsys.disabled():
        print(
            f"\n4 silos, {length} floats: "
            + "; ".join(f"{k} {r:.1f} rounds/s ({w:.1f} s in all)" for k, (r, w) in rates.items())
        )


def test_masks_beside_secagg_plus(capsys):
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    ours = best(lambda: mask(b"k" * 32, 1_000_000, 32))
    flower = best(lambda: pseudo_rand_gen(b"k" * 32, 1 << 32, [(1_000_000,)]))
    with capsys.disabled():
        print(
            f"\na mask of 10^6: {1e3 * ours:.1f} ms; SecAgg+ {1e3 * flower:.1f} ms ({flower / ours:.1f} times as long)"
        )


@pytest.mark.parametrize(("silos", "length"), [(10, 100_000), (50, 1000)])
def test_a_secure_sum(silos, length, capsys):
    keys = [make_signing_key() for _ in range(silos)]
    protocol = SecureSum([public for _, public in keys], length=length, bound=1000)
    data = [Contribution(k, np.full(length, k), secret) for k, (secret, _) in enumerate(keys)]
    outcome = InProcess().run(protocol, data)
    taken = best(lambda: InProcess().run(protocol, data), times=3)
    plain = silos * length * 4
    with capsys.disabled():
        print(
            f"\na secure sum of {silos} silos, {length} entries: {taken:.2f} s all silos together, "
            f"{outcome.payload_bytes / plain:.2f} times the bytes of the vectors"
        )
