"""The models and the runs of study 42: digits, a tiny language model, tuning by scalars and by gradients.

For `sfumato.studies.shared_randomness`. One process plays all machines: they hold the same weights, so one copy does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.reviews import LABEL_WORDS, NEGATIVE, POSITIVE, VOCABULARY, templated_reviews

if TYPE_CHECKING:
    import torch

    from sfumato.federation.shared_randomness import DPZO, Settings, SharedRandomnessTuner

Measure = Callable[[Any], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Task:
    """A pretrained model, what the machines hold, and how the model is measured."""

    model: Any
    loss: Callable[[Any, Any], Any]
    silos: list[Any]
    measure: Measure  # accuracy and loss on held-out data


@dataclass(frozen=True)
class Curve:
    """Accuracy and loss on held-out data as bytes were sent, all machines together."""

    accuracy: list[float]
    loss: list[float]
    sent: list[int]


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread: models here are small, and on a busy machine threads wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def examples(x: NDArray[Any], y: NDArray[Any]) -> Any:
    """What a machine holds, as a torch data set."""
    import torch
    from torch.utils.data import TensorDataset

    return TensorDataset(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.asarray(y, np.int64)))


def classification_loss(model: Any, batch: Any) -> torch.Tensor:
    """Cross-entropy, one an example."""
    import torch

    x, y = batch
    return torch.nn.functional.cross_entropy(model(x), y, reduction="none")


def digits(seed: int, places: Sequence[NDArray[np.int64]] | None, *, machines: int = 4, hidden: int = 48) -> Task:
    """Digits: an MLP that was pretrained on a sixth of the pictures, tuned on the rest but 397."""
    import torch
    from sklearn.datasets import load_digits

    from sfumato.data.splits import split_evenly

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 42]).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    _fit(model, classification_loss, examples(x[:300], y[:300]), 150, 32, 3e-3, seed)
    rest, test = slice(300, 1400), examples(x[1400:], y[1400:])[:]
    parts = split_evenly(1100, machines, random_state=seed) if places is None else places
    silos = [examples(x[rest][part], y[rest][part]) for part in parts]

    def measure(each: Any) -> tuple[float, float]:
        with torch.no_grad():
            right = (each(test[0]).argmax(1) == test[1]).float().mean()
            return float(right), float(classification_loss(each, test).mean())

    return Task(model.eval(), classification_loss, silos, measure)


def digit_labels(seed: int) -> NDArray[np.int64]:
    """Labels of the pictures that are tuned on, as `digits` orders them."""
    from sklearn.datasets import load_digits

    y = load_digits(return_X_y=True)[1]
    return np.asarray(y[np.random.default_rng([seed, 42]).permutation(len(y))][300:1400])


def reviews(seed: int, *, pretraining: int, machines: int = 2) -> Task:
    """Reviews: a tiny OPT that was pretrained on two thirds of the adjectives, tuned on reviews with all."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    from sfumato.federation.shared_randomness import LabelWordLoss

    torch.manual_seed(seed)
    config = OPTConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        word_embed_proj_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=128,
        max_position_embeddings=32,
        dropout=0.0,
        pad_token_id=0,
    )
    model: Any = OPTForCausalLM(config)
    loss = LabelWordLoss(LABEL_WORDS)
    known = {"positive": POSITIVE[:40], "negative": NEGATIVE[:40]}
    _fit(model, loss, examples(*templated_reviews(4000, **known, random_state=seed)), pretraining, 64, 2e-3, seed)
    silos = [examples(*templated_reviews(1000, random_state=1000 + 10 * seed + k)) for k in range(machines)]
    test = examples(*templated_reviews(400, random_state=99))[:]

    def measure(each: Any) -> tuple[float, float]:
        with torch.no_grad():
            right = (loss.logits(each, test[0]).argmax(1) == test[1]).float().mean()
            return float(right), float(loss(each, test).mean())

    return Task(model.eval(), loss, silos, measure)


def _fit(model: Any, loss: Any, data: Any, steps: int, batch: int, lr: float, seed: int) -> None:
    import torch

    random = np.random.default_rng([seed, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, data[random.integers(0, len(data), batch)]).mean().backward()
        optimizer.step()
    model.eval()


def tune(
    task: Task,
    settings: Settings,
    steps: int,
    *,
    seed: int,
    batch: int = 32,
    privacy: DPZO | None = None,
    marks: int = 8,
) -> Curve:
    """Tune a copy of the task's model by scalars, all machines in this process."""
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

    tuner = SharedRandomnessTuner(
        copy.deepcopy(task.model), task.loss, settings=settings, privacy=privacy, random_state=seed
    )
    return tune_with(tuner, task, steps, seed=seed, batch=batch, marks=marks)


def tune_with(
    tuner: SharedRandomnessTuner, task: Task, steps: int, *, seed: int, batch: int = 32, marks: int = 8
) -> Curve:
    """Let a tuner make the steps of all machines; measured `marks` times on the way."""
    random = np.random.default_rng([seed, 2])
    curve = _begun(task)
    for step in range(steps):
        payloads = {}
        for machine, data in enumerate(task.silos):
            tuner.machine = machine
            draws = random.integers(0, len(data), (tuner.settings.samples_per_step, batch))
            private = tuner.privacy is not None  # then batches are drawn by secret coins
            payloads[machine] = tuner.local_step(data if private else [data[rows] for rows in draws])
        tuner.apply(step, payloads)
        if (step + 1) % max(1, steps // marks) == 0 or step + 1 == steps:
            _mark(curve, task.measure(tuner.model), tuner.log_.scalar_bytes)
    return curve


def backprop(task: Task, steps: int, lr: float, *, seed: int, batch: int = 32, marks: int = 8) -> Curve:
    """Tune by full float32 gradients that are averaged over the machines: the baseline that bytes are compared with."""
    import torch

    model = copy.deepcopy(task.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    size = sum(p.numel() for p in model.parameters())
    random = np.random.default_rng([seed, 2])
    curve = _begun(task)
    for step in range(steps):
        optimizer.zero_grad()
        for data in task.silos:
            (task.loss(model, data[random.integers(0, len(data), batch)]).mean() / len(task.silos)).backward()
        optimizer.step()
        if (step + 1) % max(1, steps // marks) == 0 or step + 1 == steps:
            _mark(curve, task.measure(model), 4 * size * len(task.silos) * (step + 1))
    return curve


def _begun(task: Task) -> Curve:
    accuracy, loss = task.measure(task.model)
    return Curve([accuracy], [loss], [0])


def _mark(curve: Curve, measured: tuple[float, float], sent: int) -> None:
    curve.accuracy.append(measured[0])
    curve.loss.append(measured[1])
    curve.sent.append(sent)
