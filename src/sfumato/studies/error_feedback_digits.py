"""Digits classified by a small network: with error feedback, by Opacus' DP-SGD, and without privacy.

For the study of system 29, and for whoever wants to attack such models: `train_classifier` returns a predict_proba.
5,000 digits of MNIST; a network of 64 hidden units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData, MissingExtra
from sfumato.privacy.bounds import ApproxDP, Heuristic
from sfumato.privacy.claim import Claim

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Method: TypeAlias = Literal["non-private", "DP-SGD", "DP-SGD, fixed batches", "telescoped"]

_NOBODY = -100  # a label that torch's cross entropy ignores: a place without a record
_HIDDEN, _CLASSES = 64, 10


@dataclass(frozen=True)
class Classifier:
    """A trained network.

    Attributes
    ----------
    predict_proba : callable
        ``predict_proba(images) -> (n, classes)``.
    claim : Claim
    noise_multiplier : float
        Deviation of the noise on a batch's sum, over the clipping norm; 0 without privacy.
    """

    predict_proba: Callable[[Any], Floats]
    claim: Claim
    noise_multiplier: float

    def accuracy(self, images: Any, labels: Any) -> float:
        """Share of images named rightly."""
        return float((self.predict_proba(images).argmax(axis=1) == labels).mean())

    def losses(self, images: Any, labels: Any) -> Floats:
        """Cross entropy of each image, which a membership attack reads."""
        chosen = self.predict_proba(images)[np.arange(len(labels)), labels]
        return np.asarray(-np.log(np.maximum(chosen, 1e-30)))


def train_classifier(
    images: Any,
    labels: Any,
    *,
    method: Method = "telescoped",
    epsilon: float = 8.0,
    delta: float = 1e-5,
    clip: float = 1.0,
    epochs: int = 1,
    batch_size: int = 250,
    rate: float = 1.0,
    present: Bools | None = None,
    random_state: int = 0,
) -> Classifier:
    """Train a network of one hidden layer.

    Parameters
    ----------
    images : ndarray of float, shape (n, features)
    labels : ndarray of int, shape (n,)
        In 0 .. 9.
    method : {"non-private", "DP-SGD", "DP-SGD, fixed batches", "telescoped"}
        "DP-SGD" is Opacus' with Poisson sampling; "DP-SGD, fixed batches" remembers nothing of what it clips and has
        the schedule and the accounting of "telescoped".
    epsilon, delta : float
        Of the whole training, for one record left out.
    clip : float
        C1.
    epochs, batch_size : int
    rate : float
        Learning rate for gradients in units of the clipping norm: it is divided by `clip` (not without privacy).
    present : ndarray of bool, shape (n,), optional
        Places that hold a record; an empty one contributes nothing.
    random_state : int
        Of the initial weights and the public order. Noise is always fresh.

    Raises
    ------
    MissingExtra
        If torch or Opacus is not installed.
    InvalidData
        If the method is unknown.
    """
    try:
        import torch
        from torch.utils.data import DataLoader, TensorDataset
    except ModuleNotFoundError:
        raise MissingExtra("train") from None
    with torch.random.fork_rng():
        torch.manual_seed(random_state)
        features = torch.as_tensor(images, dtype=torch.float32)
        layers = [torch.nn.Linear(features.shape[1], _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, _CLASSES)]
        module: Any = torch.nn.Sequential(*layers)
        truth = torch.as_tensor(labels).clone()
        if present is not None:
            truth[torch.as_tensor(~present)] = _NOBODY
        step = rate if method == "non-private" else rate / clip
        optimizer = torch.optim.SGD(module.parameters(), lr=step)
        loader = DataLoader(TensorDataset(features, truth), batch_size=batch_size, shuffle=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's hooks and Opacus' insecure generator
            if method == "non-private":
                made, claim, sigma = (module, optimizer, torch.nn.CrossEntropyLoss(), loader), _nothing(), 0.0
            elif method == "DP-SGD":
                made, claim, sigma = _opacus(module, optimizer, loader, epsilon, delta, clip, epochs)
            else:
                made, claim, sigma = _ours(
                    method, module, optimizer, loader, epsilon, delta, clip, epochs, random_state
                )
            _fit(made, epochs)

    @torch.no_grad()
    def predict_proba(x: Any) -> Floats:
        logits = module(torch.as_tensor(x, dtype=torch.float32))
        return np.asarray(torch.softmax(logits.double(), dim=1).numpy())

    module.eval()
    return Classifier(predict_proba, claim, sigma)


def _fit(made: tuple[Any, ...], epochs: int) -> None:
    module, optimizer, criterion, loader = made
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(module(x), y).backward()
            optimizer.step()


def _nothing() -> Claim:
    return Claim(Heuristic("trained without privacy"), unit="record")


def _opacus(
    module: Any, optimizer: Any, loader: Any, epsilon: float, delta: float, clip: float, epochs: int
) -> tuple[tuple[Any, ...], Claim, float]:
    import torch
    from opacus import PrivacyEngine

    module, optimizer, criterion, loader = PrivacyEngine(accountant="rdp").make_private_with_epsilon(
        module=module,
        optimizer=optimizer,
        data_loader=loader,
        criterion=torch.nn.CrossEntropyLoss(),
        target_epsilon=epsilon,
        target_delta=delta,
        epochs=epochs,
        max_grad_norm=clip,
        grad_sample_mode="ghost",
    )
    claim = Claim(ApproxDP(epsilon, delta), unit="record", assumptions=("Opacus' accountant and noise hold",))
    return (module, optimizer, criterion, loader), claim, float(optimizer.noise_multiplier)


def _ours(
    method: Method,
    module: Any,
    optimizer: Any,
    loader: Any,
    epsilon: float,
    delta: float,
    clip: float,
    epochs: int,
    random_state: int,
) -> tuple[tuple[Any, ...], Claim, float]:
    import torch

    from sfumato.training.error_feedback import ErrorFeedbackEngine

    limits = {"DP-SGD, fixed batches": clip, "telescoped": 2 * clip}
    if method not in limits:
        raise InvalidData(f"method must be non-private, DP-SGD, {', '.join(limits)}")
    engine = ErrorFeedbackEngine()
    made = engine.make_private(
        module=module,
        optimizer=optimizer,
        data_loader=loader,
        criterion=torch.nn.CrossEntropyLoss(),
        epochs=epochs,
        target_epsilon=epsilon,
        target_delta=delta,
        max_grad_norm=clip,
        residual_norm=limits[method],
        grad_sample_mode="ghost",
        random_state=random_state,
    )
    return made, engine.claim, engine.settings.noise_multiplier
