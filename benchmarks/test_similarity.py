"""Similarities beside their peers, each pair in one run; prints the ratios.

`pytest benchmarks/test_similarity.py -s`. Kernel sums: all pairs by NumPy, and scikit-learn's KernelDensity (a tree).
Classes: logistic regression and a small network by Opacus' DP-SGD.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity

from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, SimilarityClassifier

N = 100_000


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.parametrize("columns", [3, 64])
def test_kernel_sums_beside_all_pairs(columns, capsys):
    rng = np.random.default_rng(0)
    people, points = rng.normal(size=(N, columns)), rng.normal(size=(N, columns))
    bandwidth = 0.3 * columns**0.5
    kde = PrivateKDE("gaussian", bandwidth, epsilon=1.0, delta=1e-6)
    fit = seconds(lambda: kde.fit(people))
    ask = seconds(lambda: kde.density_sum(points))
    part = 300  # of the queries; all pairs take as long for each

    def pairs():
        some = points[:part]
        square = (some**2).sum(1)[:, np.newaxis] + (people**2).sum(1) - 2 * some @ people.T
        return np.exp(-square / (2 * bandwidth**2)).sum(1)

    naive = seconds(pairs) * N / part
    tree = KernelDensity(bandwidth=bandwidth, rtol=1e-2).fit(people)
    trees = seconds(lambda: tree.score_samples(points[:30])) * N / 30
    with capsys.disabled():
        print(
            f"\n10^5 queries on 10^5 people, {columns} columns: fit {fit:.2f} s, answers {ask:.2f} s; "
            f"all pairs {naive:.0f} s ({naive / (fit + ask):.0f} times as long), "
            f"scikit-learn's tree {trees:.0f} s ({trees / (fit + ask):.0f})"
        )


def test_distance_sums_beside_all_pairs(capsys):
    rng = np.random.default_rng(0)
    people, points = rng.random((N, 8)), rng.random((N, 8))
    distances = PrivateDistanceSum("l1", 1.0, low=0, high=1)
    fit = seconds(lambda: distances.fit(people))
    ask = seconds(lambda: distances.sum(points))
    naive = seconds(lambda: [np.abs(people - point).sum() for point in points[:300]]) * N / 300
    with capsys.disabled():
        print(
            f"\n10^5 ℓ1 sums on 10^5 people, 8 columns: fit {fit:.2f} s, answers {ask:.2f} s; all pairs {naive:.0f} s, "
            f"{naive / (fit + ask):.0f} times as long"
        )


@pytest.mark.parametrize(("peer", "epochs"), [("logistic regression", 20), ("network of 64 hidden units", 20)])
def test_classes_beside_dp_sgd(peer, epochs, capsys):
    torch = pytest.importorskip("torch")
    opacus = pytest.importorskip("opacus")
    x, y = load_digits(return_X_y=True)
    x = x / 16 - 0.3
    ours = {
        method: min(
            seconds(
                lambda m=method: SimilarityClassifier(
                    m, 1.0, delta=1e-5, classes=range(10), norm_bound=3.5, bandwidth=1.5
                ).fit(x, y)
            )
            for _ in range(5)
        )
        for method in ("centroid", "kernel")
    }

    def train():
        layers = [torch.nn.Linear(64, 10)]
        if peer != "logistic regression":
            layers = [torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)]
        model = torch.nn.Sequential(*layers)
        data = torch.utils.data.TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
        model, optimizer, loader = opacus.PrivacyEngine(accountant="rdp").make_private_with_epsilon(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
            data_loader=torch.utils.data.DataLoader(data, batch_size=256),
            target_epsilon=1.0,
            target_delta=1e-5,
            epochs=epochs,
            max_grad_norm=1.0,
        )
        for _ in range(epochs):
            for rows, labels in loader:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(rows), labels).backward()
                optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train()  # once, for imports
        theirs = seconds(train)
    with capsys.disabled():
        print(
            f"\n1797 digits, {peer}, {epochs} epochs by Opacus {theirs:.2f} s; centroid {ours['centroid']:.4f} s "
            f"({theirs / ours['centroid']:.0f} times as long), kernel {ours['kernel']:.4f} s "
            f"({theirs / ours['kernel']:.0f})"
        )
