"""A step of private training beside Opacus, in one run; prints the ratios.

For whoever trains with a claim. Ours clips on an integer grid and draws exact noise from the system's entropy; Opacus
draws floats from torch's generator (its `secure_mode` is off, as by default).
`pytest benchmarks/test_subject_membership.py -s`
"""

import time

import numpy as np
import pytest

from sfumato import Release
from sfumato.attacks.subject_membership import FederationConfig, ItemDP, SubjectDP, TrainingConfig, make_federation
from sfumato.attacks.subject_membership.network import initial
from sfumato.attacks.subject_membership.rounds import private_rounds

STEPS = 20
CONFIG = FederationConfig(subjects=400, records=20, dimension=60, silos=1)
SIZES = (60, 256, 10)


def ours(privacy, silos):
    """Seconds of a step, without the accounting, which Opacus does on demand as well."""
    plan = privacy.plan(CONFIG, STEPS, 1)
    with Release(plan.claim, "benchmark") as release:
        noise = release.prepaid(plan.event)
        theta = initial(SIZES, np.random.default_rng(0))
        start = time.perf_counter()
        for _ in private_rounds(plan, silos, SIZES, theta, 0.1, 0.0, noise, lambda theta, k, t: theta):
            pass
        return (time.perf_counter() - start) / (plan.rounds * plan.steps)


def opacus(silo, rate):
    torch = pytest.importorskip("torch")
    opacus = pytest.importorskip("opacus")
    torch.set_num_threads(1)
    data = torch.utils.data.TensorDataset(torch.tensor(silo.x, dtype=torch.float32), torch.tensor(silo.y))
    model = torch.nn.Sequential(torch.nn.Linear(60, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(data, batch_size=int(rate * len(silo)))
    model, optimizer, loader = opacus.PrivacyEngine(secure_mode=False).make_private(
        module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0
    )
    steps = 0
    start = time.perf_counter()
    while steps < 2 * STEPS:
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            steps += 1
    return (time.perf_counter() - start) / steps


def test_a_private_step_beside_opacus(capsys):
    federation = make_federation(CONFIG)
    silo = federation.silos[0]
    record, subject = ours(ItemDP(8.0, rate=0.1), federation.silos), ours(SubjectDP(8.0, rate=0.5), federation.silos)
    peer = opacus(silo, 0.1)
    with capsys.disabled():
        print(
            f"\n{len(silo):,} records, MLP {SIZES}: a step on records {1e3 * record:.0f} ms, "
            f"Opacus {1e3 * peer:.0f} ms ({record / peer:.1f} times as long); on subjects {1e3 * subject:.0f} ms"
        )


def test_a_training_at_the_defaults(benchmark):
    from sfumato.attacks.subject_membership import train

    federation = make_federation()
    benchmark.pedantic(lambda: train(federation, TrainingConfig()), rounds=3, iterations=1)
