"""Saliency, bytes and a round of supermasks beside plain implementations; prints the ratios.

`pytest benchmarks/test_supermask.py -s`. Peers: SynFlow written out as its authors' code does it (a threshold by
`kthvalue` over all scores, a forward and a backward pass a step), and a round of FedAvg with dense weights on the same
silos and batches. Measured on a machine shared with others (two cores, load 7 to 9), in CPU-s: saliency of 80,016
weights in 100 steps 0.24 (written out 0.20: ratio 1.2; the same mask); a silo's round of 400 records 0.14 (FedAvg 0.13:
ratio 1.1) and 2,028 bytes up with the message's frame (FedAvg 320,064: 1 in 158).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sfumato.federation import Message  # noqa: E402
from sfumato.federation.supermask import (  # noqa: E402
    SupermaskProtocol,
    digit_network,
    make_subnetwork,
    synaptic_saliency,
)
from sfumato.federation.supermask.baselines import Baselines  # noqa: E402

STEPS, KEEP = 100, 0.2


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of two."""
    found = []
    for _ in range(2):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def plain_synflow(network: Any, keep: float, steps: int) -> list[Any]:
    """SynFlow after its authors' repository: masks by a threshold, as float64."""
    network = network.double()
    weights = list(network.parameters())
    with torch.no_grad():
        for each in weights:
            each.abs_()
    masks = [torch.ones_like(each) for each in weights]
    first = [each.detach().clone() for each in weights]
    ones = torch.ones((1, 784), dtype=torch.float64)
    for step in range(1, steps + 1):
        with torch.no_grad():
            for each, value, mask in zip(weights, first, masks, strict=True):
                each.copy_(value * mask)
        network.zero_grad()
        network(ones).sum().backward()
        scores = [(each.grad * each).detach().abs() for each in weights]
        flat = torch.cat([each.reshape(-1) for each in scores])
        dropped = int((1 - keep ** (step / steps)) * flat.numel())
        line = torch.kthvalue(flat, dropped).values if dropped else flat.min() - 1
        masks = [(each > line).double() for each in scores]
    return masks


def test_saliency_is_as_fast_as_written_out_and_keeps_the_same() -> None:
    torch.manual_seed(0)
    network = digit_network()
    ours = synaptic_saliency(network, (784,), keep=KEEP, steps=STEPS)
    copy = digit_network()
    copy.load_state_dict(network.state_dict())
    theirs = plain_synflow(copy, KEEP, STEPS)
    agree = np.mean(
        [bool(a) == bool(b) for a, b in zip(_flat(ours.values()).tolist(), _flat(theirs).tolist(), strict=True)]
    )
    mine = seconds(lambda: synaptic_saliency(network, (784,), keep=KEEP, steps=STEPS))
    peer = seconds(lambda: plain_synflow(copy, KEEP, STEPS))
    ratio = mine / peer
    print(f"\nsaliency, {STEPS} steps: {mine:.2f} CPU-s, written out {peer:.2f}: ratio {ratio:.2f}; {agree:.4%} alike")
    assert agree >= 0.999


def _flat(masks: Any) -> Any:
    return torch.cat([mask.reshape(-1).bool() for mask in masks])


def test_bytes_and_cpu_of_a_round_beside_fedavg() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((400, 784), np.float32), rng.integers(0, 10, 400)
    protocol = SupermaskProtocol(digit_network(), (784,), 10, keep=KEEP, rounds=1)
    request = Message(protocol.requests(protocol.start(), (0,))[0])
    reply, _ = protocol.client_step(request, Message({}), (x, y))
    sent = Message(reply).payload_bytes
    dense = make_subnetwork(digit_network(), (784,), keep=1.0, seed=0, steps=1, weights="normal")
    fedavg = Baselines(dense, [(torch.from_numpy(x), torch.from_numpy(y))], [], rounds=1)
    mine = seconds(lambda: protocol.client_step(request, Message({}), (x, y)))
    peer = seconds(fedavg.fedavg)
    print(
        f"\na silo's round of 400 records: {mine:.2f} CPU-s, FedAvg {peer:.2f}: ratio {mine / peer:.2f}; "
        f"{sent:,} bytes up, FedAvg {4 * dense.size:,}: 1 in {4 * dense.size / sent:.0f}"
    )
    assert len(reply["signs"]) == -(-protocol.subnetwork.kept // 8)
