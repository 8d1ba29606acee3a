"""A step of HyperFL beside the official two stages, and a private step beside Opacus; prints the ratios.

`pytest benchmarks/test_hyperfl.py -s`. The paper's MNIST extractor, batches of 50, medians of steps in turn, one
thread. The peer of the plain step is the official form written out (load the generated weights, go backward, and
through the hypernetwork by a second pass); that of the per-record gradients is Opacus' GradSampleModule with its
clipping in single precision, and a loop over records without clipping. CPU time, measured on two busy cores (load 9): a
step 18.5 ms (official form 1.02 of it) at hidden_dim 8, 23.6 ms (1.00) at 32, which is 1.29 and 1.34 steps of FedAvg;
clipped record gradients 62.5 ms, of which Opacus takes 0.95 and the loop 1.57.
"""

from __future__ import annotations

import statistics
import time

import pytest

torch = pytest.importorskip("torch")

from sfumato.federation.hypernetwork import HyperNetwork, make_extractor  # noqa: E402
from sfumato.federation.hypernetwork.local_steps import record_gradients  # noqa: E402
from sfumato.federation.hypernetwork.models import loss_of  # noqa: E402
from sfumato.federation.hypernetwork.private import clipped_sum  # noqa: E402

STEPS, BATCH = 7, 50


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_turn(works):
    """Median CPU-seconds of each, one step of each after the other: the machine may be busy."""
    taken = {name: [] for name in works}
    for _ in range(STEPS):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def batch():
    head = {"weight": torch.randn(10, 128) / 12, "bias": torch.zeros(10)}
    return head, torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))


@pytest.mark.parametrize("hidden", [8, 32])
def test_a_step_beside_the_official_two_stages(hidden, capsys):
    extractor, (head, x, y) = make_extractor("cnn-mnist"), batch()
    network, v = HyperNetwork(extractor, hidden_dim=hidden, random_state=0), torch.randn(64, requires_grad=True)
    leaves = [*network.parameters(), v]

    def ours():
        torch.autograd.grad(loss_of(extractor, network(v), head, x, y), leaves)

    def official():
        theta = network(v)
        extractor.load_state_dict(theta)
        extractor.zero_grad()
        torch.nn.functional.cross_entropy(extractor(x) @ head["weight"].T + head["bias"], y).backward()
        torch.autograd.grad(list(theta.values()), leaves, [p.grad for p in extractor.parameters()])

    def plain():
        extractor.zero_grad()
        torch.nn.functional.cross_entropy(extractor(x) @ head["weight"].T + head["bias"], y).backward()

    found = in_turn({"ours": ours, "official": official, "FedAvg": plain})
    with capsys.disabled():
        print(
            f"\nhidden_dim {hidden}: {1e3 * found['ours']:.1f} ms; official form / ours "
            f"{found['official'] / found['ours']:.2f}; ours / a step of FedAvg {found['ours'] / found['FedAvg']:.2f}"
        )


def test_record_gradients_beside_opacus_and_a_loop(capsys):
    opacus = pytest.importorskip("opacus")
    extractor, (head, x, y) = make_extractor("cnn-mnist"), batch()
    theta = {name: parameter.detach() for name, parameter in extractor.named_parameters()}
    model = torch.nn.Sequential(make_extractor("cnn-mnist"), torch.nn.Linear(128, 10))
    hooked = opacus.GradSampleModule(model)

    def ours():
        clipped_sum(record_gradients(extractor, theta, head, x, y), 1.0)

    def theirs():
        hooked.zero_grad()
        torch.nn.functional.cross_entropy(hooked(x), y).backward()
        each = [p.grad_sample.flatten(1) for p in hooked.parameters()]
        factors = (1.0 / torch.stack([g.norm(dim=1) for g in each]).norm(dim=0)).clamp(max=1.0)
        return [factors @ g for g in each]

    def loop():
        for k in range(BATCH):
            loss = loss_of(extractor, dict(extractor.named_parameters()), head, x[k : k + 1], y[k : k + 1])
            torch.autograd.grad(loss, list(extractor.parameters()))

    found = in_turn({"ours": ours, "Opacus": theirs, "loop": loop})
    with capsys.disabled():
        print(
            f"\n{1e3 * found['ours']:.1f} ms; Opacus / ours {found['Opacus'] / found['ours']:.2f}; "
            f"a loop without clipping / ours {found['loop'] / found['ours']:.2f}"
        )
