"""A canary in the gradients of a private optimizer: does each step add the noise that it states?

For an ML engineer who trains with Opacus. Nasr, Hayes, Steinke, Balle, Tramèr, Jagielski, Carlini, Terzis, "Tight
Auditing of Differentially Private Machine Learning" (USENIX Security 2023).
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from sfumato.attacks.bayesian_audit.canaries import CanaryReport, judge_independent
from sfumato.errors import InvalidData, MissingExtra
from sfumato.privacy.bounds import GaussianDP
from sfumato.privacy.claim import Claim

Direction = Literal["dirac", "random"]


class GradientCanary:
    """Adds a clipped gradient of its own to the steps of an Opacus optimizer, and reads it off the noisy sums.

    In each step a coin decides whether a made-up record takes part whose clipped gradient is the canary, of norm C.
    What is recorded is ⟨noisy sum − clipped sum of the others, canary⟩ / C²: the adversary knows all other records.
    If the step adds noise of deviation σC in each coordinate, the statistic is normal with mean 1 or 0 and deviation σ,
    so that a step is exactly 1/σ-Gaussian private for a record that is in it, and its audit is exact and tight.

    The canary moves the model, as a record would: audit a copy of the training, not the run that is kept.

    Parameters
    ----------
    optimizer : opacus.optimizers.DPOptimizer
        With one clipping norm for the whole gradient.
    direction : {"dirac", "random"}
        All of C on one coordinate, drawn at random, or a uniformly random direction.
    rate : float, default 0.5
        Probability of the canary's being in a step. For a `CanaryGame` over whole trainings it is the sampling rate
        in a run with the canary and 0 in one without, and the score is ``statistics.sum()``.
    random_state : int, optional
        Of the direction and the coins.

    Attributes
    ----------
    statistics : ndarray of float, shape (steps,)
    included : ndarray of bool, shape (steps,)
    claim : Claim
        What one step promises to a record that takes part in it: by the noise multiplier that the optimizer stated
        when the canary came in.

    Raises
    ------
    MissingExtra
        If torch is not installed.
    InvalidData
        If the optimizer is not private, clips by layer, or adds no noise; or the rate is not a probability.

    Examples
    --------
    >>> with GradientCanary(optimizer, random_state=0) as canary:  # doctest: +SKIP
    ...     train(model, optimizer, loader)
    >>> canary.report(delta=1e-5).to_evidence().verdict  # doctest: +SKIP
    'consistent'
    """

    def __init__(
        self, optimizer: Any, *, direction: Direction = "dirac", rate: float = 0.5, random_state: int | None = None
    ) -> None:
        if direction not in get_args(Direction):
            raise InvalidData("direction must be 'dirac' or 'random'")
        if not 0 <= rate <= 1:
            raise InvalidData("rate must lie in [0, 1]")
        if not all(hasattr(optimizer, name) for name in ("add_noise", "noise_multiplier", "max_grad_norm", "params")):
            raise InvalidData("optimizer must be an Opacus DPOptimizer")
        if not isinstance(optimizer.max_grad_norm, (int, float)):
            raise InvalidData("optimizer must clip the whole gradient to one norm")
        if not optimizer.noise_multiplier > 0:
            raise InvalidData("optimizer must add noise: without any, a step promises nothing")
        self.optimizer = optimizer
        self.rate = rate
        self.claim = Claim(GaussianDP(1 / float(optimizer.noise_multiplier)), unit="record")
        self._rng = np.random.default_rng(random_state)
        self._canary = self._draw(direction)
        self._norm = float(optimizer.max_grad_norm)
        self._statistics: list[float] = []
        self._included: list[bool] = []

    @property
    def statistics(self) -> npt.NDArray[np.float64]:
        """One number a step."""
        return np.array(self._statistics, dtype=np.float64)

    @property
    def included(self) -> npt.NDArray[np.bool_]:
        """Whether the canary was in each step."""
        return np.array(self._included, dtype=np.bool_)

    def __enter__(self) -> Self:
        self._add_noise = self.optimizer.add_noise
        self.optimizer.add_noise = self._observe  # called once a step, after clipping and before scaling
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self.optimizer.add_noise  # the class's own is there again

    def report(self, *, delta: float, alpha: float = 0.05, claim: Claim | None = None) -> CanaryReport:
        """Audit the steps so far: half of them choose a threshold, the other half is counted.

        Parameters
        ----------
        delta : float
            δ at which ε is stated, in [0, 1).
        alpha : float, default 0.05
        claim : Claim, optional
            Of one step, in place of `claim`.

        Raises
        ------
        InvalidData
            If there are fewer than four steps, or the canary was in all of them or in none.
        """
        if len(self._statistics) < 4:
            raise InvalidData("at least 4 steps are needed: half of them choose the threshold")
        return judge_independent(self.statistics, self.included, self.claim if claim is None else claim, delta, alpha)

    def _observe(self) -> None:
        parameters = self.optimizer.params
        others = sum(float((p.summed_grad * c).sum()) for p, c in zip(parameters, self._canary, strict=True))
        here = bool(self._rng.random() < self.rate)
        if here:
            for p, c in zip(parameters, self._canary, strict=True):
                p.summed_grad = p.summed_grad + c
        self._add_noise()
        noisy = sum(float((p.grad * c).sum()) for p, c in zip(parameters, self._canary, strict=True))
        self._statistics.append((noisy - others) / self._norm**2)
        self._included.append(here)

    def _draw(self, direction: Direction) -> list[Any]:
        """Tensors of the parameters' shapes, of norm C together."""
        try:
            import torch
        except ImportError:
            raise MissingExtra("train") from None
        sizes = [p.numel() for p in self.optimizer.params]
        flat = np.zeros(sum(sizes))
        if direction == "dirac":
            flat[self._rng.integers(len(flat))] = 1.0
        else:
            flat = self._rng.normal(size=len(flat))
        flat *= float(self.optimizer.max_grad_norm) / np.linalg.norm(flat)
        pieces = np.split(flat, np.cumsum(sizes)[:-1])
        return [
            torch.as_tensor(piece, dtype=p.dtype, device=p.device).reshape(p.shape)
            for piece, p in zip(pieces, self.optimizer.params, strict=True)
        ]
