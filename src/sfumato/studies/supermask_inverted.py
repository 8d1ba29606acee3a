"""Gradient inversion of study 46: images from the sign mask of one local step, beside the whole gradient of FedAvg.

The attacks are those of system 45 (Geiping et al. 2020), adapted to signs. Protection and attack meet here only,
through arrays by name and a torch module.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from sfumato.studies.study import Row
from sfumato.studies.supermask_attacked import one_step, uploaded

# Weights of the total variation: each method's best of 1e-4 .. 0.3 on eight other images.
_SMOOTH = {"ig": 0.1, "signs": 0.3}
_METHODS = {
    "FedAvg, gradient of all weights": ("dense", "ig"),
    "sign mask, cosine": ("mask", "ig"),
    "sign mask, softened signs": ("mask", "signs"),
}


def inversion_rows(
    protocol: Any, x: Any, y: Any, *, images: int, gallery: int, iterations: int, seed: int
) -> Iterator[Row]:
    """Reconstruct images one by one from what a silo that takes one step on one of them uploads."""
    what = (
        f"one image a step, {images} images, {iterations} iterations, labels known: PSNR, SSIM, share that the "
        f"reconstruction names among {gallery}"
    )
    if find_spec("skimage") is None:
        yield Row(what, "", "not run: pip install 'sfumato[images]'")
        return
    from sfumato.attacks.gradient_inversion import psnr

    rows = np.random.default_rng([seed, 48]).permutation(len(x))[:gallery]
    side = int(np.sqrt(x.shape[1]))
    shown, labels = x[rows].reshape(-1, 1, side, side), y[rows]
    views = _views(one_step(protocol, 1), x[rows], labels, images, side)
    told, named = [], {}
    for name, (kind, method) in _METHODS.items():
        found = [_attacked(view, method, shown, i, iterations, seed) for i, view in enumerate(views[kind])]
        decibels, likeness, ranks = np.array(found).T
        named[name] = float(np.mean(ranks == 1))
        told.append(f"{name}: {decibels.mean():.1f} dB, {likeness.mean():.2f}, {named[name]:.0%}")
    guess = psnr(shown[:images], np.random.default_rng(seed).random(shown[:images].shape)).mean()
    yield Row(
        f"{what}; a random image",
        "transmits only masks (abstract); nothing is promised",
        f"{'; '.join(told)}; {guess:.1f} dB",
    )
    yield Row(
        f"the same uploads, an attacker who holds the {gallery} images: share named by whose gradient fits best",
        "not found",
        "; ".join(f"{kind}: {_suspected(views[kind], shown, labels):.0%}" for kind in ("dense", "mask"))
        + f" (chance {1 / gallery:.1%})",
    )


def _views(protocol: Any, x: Any, y: Any, images: int, side: int) -> dict[str, list[Any]]:
    """What the server holds after one step on each of the first images: of averaging, and of a supermask."""
    from sfumato.attacks.gradient_inversion import View
    from sfumato.federation.supermask import make_subnetwork

    sub = protocol.subnetwork
    dense = make_subnetwork(protocol.network, x.shape[1:], keep=1.0, seed=protocol.seed, steps=1, weights="normal")
    views: dict[str, list[Any]] = {"dense": [], "mask": []}
    for i in range(images):
        known = {"shape": (1, side, side), "labels": y[i : i + 1]}
        gradient = {"kept": _gradient(dense, x[i : i + 1], y[i : i + 1])}
        views["dense"].append(View({"kept": dense.values.numpy()}, gradient, _kept_network(dense), known=known))
        # A score falls, and its sign with it, where the weight times its gradient is positive; so the signs of the
        # gradient are read off the mask, but for those of gradients of 0, whose scores stay.
        signs = uploaded(protocol, x[i : i + 1], y[i : i + 1])
        told = {"kept": -signs * np.sign(sub.values.numpy())}
        views["mask"].append(View({"kept": sub.values.numpy()}, told, _kept_network(sub), known=known))
    return views


def _gradient(sub: Any, x: Any, y: Any) -> Any:
    """What a silo of federated averaging sends after one step, over its learning rate."""
    import torch

    leaf = sub.values.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(sub.logits(leaf, torch.from_numpy(x)), torch.from_numpy(y))
    return torch.autograd.grad(loss, leaf)[0].numpy()


def _kept_network(sub: Any) -> Any:
    """The network as a module of one parameter: its kept weights."""
    import torch

    class KeptNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = torch.nn.Parameter(sub.values.clone())

        def forward(self, images: Any) -> Any:
            return sub.logits(self.kept, images.flatten(1))

    return KeptNetwork()


def _attacked(view: Any, method: Any, gallery: Any, i: int, iterations: int, seed: int) -> tuple[float, float, float]:
    from sfumato.attacks.gradient_inversion import GradientInversion

    attack = GradientInversion(method, iterations, tv=_SMOOTH[method], random_state=seed)
    attack.run(view, gallery[i : i + 1], gallery=gallery)
    assert attack.psnr_ is not None
    assert attack.ssim_ is not None
    assert attack.rank_ is not None
    return float(attack.psnr_[0]), float(attack.ssim_[0]), float(attack.rank_[0])


def _suspected(views: list[Any], gallery: Any, labels: Any) -> float:
    from sfumato.attacks.gradient_inversion import suspects

    uploads = [view.update for view in views]
    scores = suspects(uploads, views[0].parameters, views[0].model, gallery, labels)
    return float(np.mean(scores.argmax(axis=1) == np.arange(len(views))))
