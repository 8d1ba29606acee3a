"""A small classifier, data for it, and settings: what the tests of this package share."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

SEED = "5f" * 32


def small_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()


def losses(model, batch):
    x, y = batch
    return torch.nn.functional.cross_entropy(model(x), y, reduction="none")


def examples(seed, n=24):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    return TensorDataset(torch.from_numpy(x), torch.from_numpy((x[:, 0] > 0) + 1 * (x[:, 1] > 1)))
