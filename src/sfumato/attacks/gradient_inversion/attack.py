"""`GradientInversion`: run one of the attacks on a view and say what came of it.

For a privacy engineer who must show what a federation's uploads betray. Methods and their papers are in `methods`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import nn

from sfumato.attacks.gradient_inversion import methods
from sfumato.attacks.gradient_inversion.gallery import NOTHING_PROMISED, gallery_ranks, identification
from sfumato.attacks.gradient_inversion.gradients import Loss, private_copy
from sfumato.attacks.gradient_inversion.metrics import Floats, images, matched, psnr, ssim
from sfumato.attacks.gradient_inversion.setting import Setting
from sfumato.attacks.gradient_inversion.view import View
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, clopper_pearson_upper
from sfumato.privacy.claim import Claim

Method: TypeAlias = Literal[
    "analytic", "dlg", "idlg", "ig", "signs", "private_head", "hypernetwork", "naive_hypernetwork"
]

METHODS: dict[str, Callable[[Setting], methods.Attempt]] = {
    "analytic": methods.analytic,
    "dlg": methods.dlg,
    "idlg": methods.idlg,
    "ig": methods.ig,
    "signs": methods.signs,
    "private_head": methods.private_head,
    "hypernetwork": methods.hypernetwork,
    "naive_hypernetwork": methods.naive_hypernetwork,
}
_ITERATIONS = {"dlg": 300, "idlg": 300}


class GradientInversion:
    """Reconstruct the images behind an upload.

    Parameters
    ----------
    method : {"analytic", "dlg", "idlg", "ig", "signs", "private_head", "hypernetwork", "naive_hypernetwork"}
        "analytic" needs a first layer that is linear; "dlg" and "idlg" activations that are smooth; "signs" is "ig" for
        an upload of the gradient's signs, as -1, 0 and +1, whose labels are known; "private_head" is "ig" for an upload
        of a feature extractor alone. "hypernetwork" is for HyperFL and knows how it works, "naive_hypernetwork" is the
        attacker of its paper, who does not.
    iterations : int, optional
        4,800 by default, 300 (of 20 inner steps each) for "dlg" and "idlg".
    restarts : int, default 1
        The one of least loss is kept.
    tv : float, default 1e-4
        Weight of the total variation. Not to be tuned on the truth.
    rate : float, default 0.1
        First step of the search by signs, in the units of the network's input.
    loss : callable, optional
        ``loss(logits, targets)``, the client's; cross entropy by default.
    dtype : {"float32", "float64"}
    level : float, default 0.95
        Of the evidence's interval.
    random_state : int, optional
        Of the starts.

    Attributes
    ----------
    images_ : ndarray of float64, shape (batch, channels, height, width), or None
        In [0, 1], in the order of the truth if there is one; None if every restart's loss was NaN.
    labels_ : ndarray of int64, shape (batch,), or None
        As known or as found, in the search's own order; None where the method needs and finds none.
    loss_ : float
    losses_ : tuple of float
        Of each restart.
    psnr_, ssim_ : ndarray of float64, shape (batch,), or None
        Against the truth.
    rank_ : ndarray of int64, shape (batch,), or None
        Of the truth in the gallery, from 1.
    """

    def __init__(
        self,
        method: Method = "ig",
        iterations: int | None = None,
        *,
        restarts: int = 1,
        tv: float = 1e-4,
        rate: float = 0.1,
        loss: Loss | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        level: float = 0.95,
        random_state: int | None = None,
    ) -> None:
        self.method = method
        self.iterations = iterations
        self.restarts = restarts
        self.tv = tv
        self.rate = rate
        self.loss = loss
        self.dtype = dtype
        self.level = level
        self.random_state = random_state

    def run(
        self,
        view: View,
        truth: ArrayLike | None = None,
        *,
        gallery: ArrayLike | None = None,
        claim: Claim | None = None,
    ) -> Evidence:
        """Attack one upload.

        Parameters
        ----------
        view : View
        truth : array_like of float, shape (batch, channels, height, width), optional
            In [0, 1]; read after the attack only.
        gallery : array_like of float, shape (m, channels, height, width), optional
            Images among which the truth is looked for by its reconstruction.
        claim : Claim, optional
            Of the federation. Only with a gallery is there a verdict: no claim bounds a PSNR.

        Returns
        -------
        Evidence
            The identification rate if there is a gallery, else the mean PSNR, else the loss.

        Raises
        ------
        InvalidData
            If a parameter or a part of the view that the method needs is missing or wrong.
        AttackNotApplicable
            If the network is not of the kind that the method attacks.
        """
        setting = self._setting(view)
        self._check_truth(view, truth, gallery)
        attempt = METHODS[self.method](setting)
        self.images_, self.labels_ = attempt.images, attempt.labels
        self.loss_, self.losses_ = attempt.loss, attempt.losses
        self.psnr_: Floats | None = None
        self.ssim_: Floats | None = None
        self.rank_ = None
        if self.images_ is None:
            return self._failed(claim)
        if truth is None:
            return self._measured("loss of the best restart", np.array([self.loss_]), claim, attempt.notes)
        self.images_ = self.images_[matched(truth, self.images_)]
        self.psnr_, self.ssim_ = psnr(truth, self.images_), ssim(truth, self.images_)
        if gallery is None:
            return self._measured("PSNR in dB, mean over images", self.psnr_, claim, attempt.notes)
        self.rank_ = gallery_ranks(self.images_, truth, gallery)
        size = len(np.asarray(gallery))
        return identification(self.rank_, size, claim, attack=self._name(), level=self.level)

    def _setting(self, view: View) -> Setting:
        if self.method not in METHODS:
            raise InvalidData(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.dtype not in ("float32", "float64"):
            raise InvalidData(f"dtype must be float32 or float64, got {self.dtype!r}")
        if not 0 < self.level < 1:
            raise InvalidData(f"level must be in (0, 1), got {self.level!r}")
        if not isinstance(view, View):
            raise InvalidData(f"view must be a View, got {type(view).__name__}")
        iterations = _ITERATIONS.get(self.method, 4800) if self.iterations is None else self.iterations
        for name, value in (("iterations", iterations), ("restarts", self.restarts)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1, got {value!r}")
        if not (0 <= self.tv < math.inf and 0 < self.rate < math.inf):
            raise InvalidData(f"tv must be at least 0 and rate positive, got {self.tv!r} and {self.rate!r}")
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        generator = torch.Generator()
        if self.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(self.random_state)
        return Setting(
            view=view,
            model=private_copy(view.model, dtype),
            loss=nn.functional.cross_entropy if self.loss is None else self.loss,
            dtype=dtype,
            iterations=iterations,
            restarts=self.restarts,
            rate=self.rate,
            tv=self.tv,
            generator=generator,
        )

    def _check_truth(self, view: View, truth: ArrayLike | None, gallery: ArrayLike | None) -> None:
        """Before the search, which takes long."""
        if truth is None:
            if gallery is not None:
                raise InvalidData("gallery needs a truth to look for in it")
            return
        view.needs("shape")
        expected = (view.batch, *view.known["shape"])
        if images("truth", truth).shape != expected:
            raise InvalidData(f"truth must have shape {expected}, got {np.shape(truth)}")
        if gallery is not None:
            gallery_ranks(truth, truth, gallery)

    def _name(self) -> str:
        return f"gradient inversion, {self.method}"

    def _failed(self, claim: Claim | None) -> Evidence:
        return Evidence(
            attack=self._name(),
            metric="share of restarts that ended in an image",
            value=0.0,
            interval=(0.0, float(clopper_pearson_upper(0, self.restarts, 1 - self.level))),
            level=self.level,
            samples=self.restarts,
            claim=NOTHING_PROMISED if claim is None else claim,
            verdict="inconclusive",
            notes=("the loss of every restart was NaN: the attack says nothing",),
        )

    def _measured(self, metric: str, values: Floats, claim: Claim | None, notes: tuple[str, ...]) -> Evidence:
        n, mean = len(values), float(values.mean())
        half = math.inf
        if n > 1 and np.isfinite(values).all():
            half = float(stats.t.ppf((1 + self.level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
        interval = (mean - half, mean + half) if math.isfinite(mean) else (-math.inf, math.inf)
        return Evidence(
            attack=self._name(),
            metric=metric,
            value=mean,
            interval=interval,
            level=self.level,
            samples=n,
            claim=NOTHING_PROMISED if claim is None else claim,
            verdict="inconclusive",
            notes=("no claim bounds this measure: it carries no verdict", *notes),
        )
