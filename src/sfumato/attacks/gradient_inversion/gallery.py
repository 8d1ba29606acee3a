"""Which person's image was it: the rank of the truth in a gallery, and what a claim allows of it.

For saying what a reconstruction is worth: a blurred image may still name its owner, and a sharp one that any digit
resembles names nobody. Chance is one over the size of the gallery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from sfumato.attacks.gradient_inversion.gradients import Loss, each_gradient, private_copy
from sfumato.attacks.gradient_inversion.metrics import images
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL, Heuristic
from sfumato.privacy.claim import Claim

NOTHING_PROMISED = Claim(Heuristic("updates are uploaded as they are: nothing is promised"), unit="silo", trust="silo")

_EPSILONS = np.linspace(0.0, 20.0, 401)


def gallery_ranks(found: ArrayLike, truth: ArrayLike, gallery: ArrayLike) -> NDArray[np.int64]:
    """Rank of each true image among a gallery's by distance to its reconstruction, from 1, shape (n,).

    Parameters
    ----------
    found, truth : array_like of float, shape (n, channels, height, width)
        In the same order.
    gallery : array_like of float, shape (m, channels, height, width)
        Contains each true image.

    Raises
    ------
    InvalidData
        If a true image is not in the gallery.
    """
    a, b, g = images("found", found), images("truth", truth), images("gallery", gallery)
    if a.shape != b.shape or g.shape[1:] != a.shape[1:]:
        raise InvalidData(f"found, truth and gallery must be alike, got shapes {a.shape}, {b.shape} and {g.shape}")
    ranks = []
    for x, true in zip(a, b, strict=True):
        own = np.flatnonzero((g == true).all(axis=(1, 2, 3)))
        if not own.size:
            raise InvalidData("gallery must contain every true image")
        distance = np.square(g - x).sum(axis=(1, 2, 3))
        ranks.append(1 + int((distance < distance[own[0]]).sum()))
    return np.asarray(ranks, np.int64)


def identification_ceiling(claim: Claim, gallery: int) -> float:
    """Largest chance to name the one image of `gallery`, each as likely, behind a release under that claim.

    P(name x | x) ≤ e^ε·P(name x | o) + δ(ε), where o is a neighbour of all: the unit absent ("add-remove"), or holding
    any one image of the gallery ("replace-one"). The events "name x" exclude one another, so the mean over the gallery
    is at most e^ε / gallery + δ(ε), for every ε. The claim's unit must own the image.

    Parameters
    ----------
    claim : Claim
        Formal.
    gallery : int

    Raises
    ------
    InvalidClaim
        If the claim is not formal.
    """
    if gallery < 1:
        raise InvalidData(f"gallery must be at least 1, got {gallery}")
    return min(1.0, *(math.exp(epsilon) / gallery + claim.delta_at(float(epsilon)) for epsilon in _EPSILONS))


def identification(
    ranks: Sequence[int] | NDArray[np.int64],
    gallery: int,
    claim: Claim | None = None,
    *,
    attack: str,
    level: float = 0.95,
) -> Evidence:
    """Set the share of images that were named, rank 1, against a claim.

    A formal claim is falsified if the rate's lower bound is above its `identification_ceiling`. A heuristic one has no
    bound and is held to chance. Where nothing is promised (no claim, or a void one) there is no verdict.

    Parameters
    ----------
    ranks : sequence of int, shape (n,)
        Of uploads that are independent of each other.
    gallery : int
        Images that each was looked for among, drawn before the upload was seen.
    claim : Claim, optional
    attack : str
        What was done.
    level : float, default 0.95

    Returns
    -------
    Evidence
    """
    got = np.asarray(ranks)
    if got.ndim != 1 or not got.size or got.min() < 1 or got.max() > gallery:
        raise InvalidData(f"ranks must be whole numbers from 1 to {gallery}, at least one")
    hits, n, tail = int((got == 1).sum()), len(got), (1 - level) / 2
    low, high = float(clopper_pearson_lower(hits, n, tail)), float(clopper_pearson_upper(hits, n, tail))
    allowed = _allowed(claim, gallery)
    verdict: Verdict = "inconclusive" if allowed is None else "falsified" if low > allowed else "consistent"
    said = "nothing is promised" if allowed is None else f"the claim is held to at most {allowed:.4g}"
    return Evidence(
        attack=attack,
        metric=f"identification rate in a gallery of {gallery}",
        value=hits / n,
        interval=(low, high),
        level=level,
        samples=n,
        claim=NOTHING_PROMISED if claim is None else claim,
        verdict=verdict,
        notes=(f"chance is {1 / gallery:.4g}; {said}",),
    )


def _allowed(claim: Claim | None, gallery: int) -> float | None:
    if claim is None or claim.void:
        return None
    return identification_ceiling(claim, gallery) if isinstance(claim.bound, FORMAL) else 1 / gallery


def suspects(
    uploads: Sequence[Mapping[str, ArrayLike]],
    parameters: Mapping[str, ArrayLike],
    model: nn.Module,
    gallery: ArrayLike,
    labels: ArrayLike,
    *,
    clip: float | None = None,
    loss: Loss = nn.functional.cross_entropy,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """How well the gradient of each gallery image explains each upload, shape (uploads, gallery).

    The strongest attacker that Gaussian noise on one image's clipped gradient has to withstand: who holds the gallery
    need not invert anything. The score is the log-likelihood up to terms that are the same for all images and the
    variance, <u, g> - |g|²/2; without `clip` it is the cosine, for an upload of unknown scale.

    Parameters
    ----------
    uploads : sequence of mapping of str to array_like
        Gradients by parameter name.
    parameters : mapping of str to array_like
    model : torch.nn.Module
    gallery : array_like of float, shape (m, channels, height, width)
        In [0, 1].
    labels : array_like of int, shape (m,)
    clip : float, optional
        Norm that the client clips its gradient to.
    loss : callable
    mean, std : array_like
        Of the standardisation, one a channel.
    """
    x = torch.as_tensor(images("gallery", gallery), dtype=torch.float32)
    y = torch.as_tensor(np.asarray(labels), dtype=torch.long)
    if y.shape != x.shape[:1]:
        raise InvalidData(f"labels must be one a gallery image, got shape {tuple(y.shape)}")
    x = (x - _channels(mean)) / _channels(std)
    theta = {name: torch.as_tensor(np.array(p), dtype=torch.float32) for name, p in parameters.items()}
    seen = torch.stack([_flat([u[name] for name in theta]) for u in uploads])
    frozen = private_copy(model, torch.float32)
    columns = []
    for start in range(0, len(x), 100):
        g = each_gradient(frozen, theta, x[start : start + 100], y[start : start + 100], loss)
        norms = g.norm(dim=1).clamp_min(1e-30)
        if clip is None:
            columns.append(seen @ (g / norms[:, None]).T)
        else:
            kept = (clip / norms).clamp_max(1.0)
            columns.append(seen @ (g * kept[:, None]).T - 0.5 * (kept * norms).square())
    return np.asarray(torch.cat(columns, dim=1).double().numpy())


def _channels(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values, np.float32)).reshape(-1, 1, 1)


def _flat(arrays: Sequence[Any]) -> torch.Tensor:
    return torch.as_tensor(np.concatenate([np.asarray(a, np.float32).ravel() for a in arrays]))
