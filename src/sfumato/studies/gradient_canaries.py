"""Steps of an Opacus optimizer watched by a gradient canary: as it is, and with half the noise that it states.

For the study of system 31, after Nasr et al., "Tight Auditing of Differentially Private Machine Learning" (USENIX
Security 2023). Logistic regression on scikit-learn's digits; the digits are public.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from sfumato.attacks.bayesian_audit import CanaryReport, GradientCanary

_BATCH = 32


def installed() -> bool:
    """Whether torch and Opacus are there."""
    return find_spec("torch") is not None and find_spec("opacus") is not None


def watch_steps(steps: int, *, sigma: float, halved: bool, delta: float, seed: int) -> CanaryReport:
    """Train for some steps with a canary in half of them, and audit the steps against the noise that is stated."""
    import torch
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    torch.manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.as_tensor(images / 16, dtype=torch.float32), torch.as_tensor(labels)
    model: Any = GradSampleModule(torch.nn.Linear(64, 10))
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.5),
        noise_multiplier=sigma,
        max_grad_norm=1.0,
        expected_batch_size=_BATCH,
    )
    rng = np.random.default_rng(seed)
    with GradientCanary(optimizer, direction="random", random_state=seed) as canary:
        if halved:
            optimizer.noise_multiplier = sigma / 2  # a bug after the claim was stated
        for _ in range(steps):
            rows = torch.as_tensor(rng.integers(len(x), size=_BATCH))
            loss: Any = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return canary.report(delta=delta)
