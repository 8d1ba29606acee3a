"""ErrorFeedbackEngine: makes a PyTorch training private with error feedback, states its claim, and resumes it.

For a plain PyTorch loop and for users of Opacus' PrivacyEngine, whose make_private it mirrors. Zhang, Bu, Wu and Hong
(ICLR 2024, arXiv 2311.14632); the calibration that is sound is proved in `sensitivity` and `plan`.
"""

from __future__ import annotations

import contextvars
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from sfumato.errors import ClaimViolated, InvalidClaim, InvalidData, UnsoundClaimError, UnsoundClaimWarning
from sfumato.privacy import ledger as ledgers
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.training.error_feedback import checkpoint
from sfumato.training.error_feedback.feedback import Variant
from sfumato.training.error_feedback.ghost import GhostCriterion, check_criterion
from sfumato.training.error_feedback.modules import GradSampleMode, trained_parameters, wrapped_module
from sfumato.training.error_feedback.noise import ExactNoise, Noise, TorchNoise
from sfumato.training.error_feedback.optimizer import ErrorFeedbackOptimizer, check_norms
from sfumato.training.error_feedback.plan import NoiseKind, Privacy, Settings, check_choice, multiplier_for
from sfumato.training.error_feedback.schedule import Schedule, ScheduledLoader, records_of
from sfumato.training.error_feedback.sensitivity import positive

_VARIANTS: dict[Privacy, Variant] = {
    "telescoped": "telescoped",
    "naive": "paper",
    "paper": "paper",
    "official": "official",
}


@dataclass
class _Training:
    """What an engine holds of its one training."""

    settings: Settings
    mode: GradSampleMode
    schedule: Schedule
    release: Release | None
    claim: Claim
    times: int  # how often the claim was paid for: once, and once more for each time that steps were run again
    receipt: ledgers.Receipt | None
    module: Any
    optimizer: ErrorFeedbackOptimizer
    marks: list[checkpoint.Mark]


class ErrorFeedbackEngine:
    """Makes one training private, with error feedback.

    Neighbours differ in one record: left out ("add-remove"; the number of records is public and its place in the
    batches stays empty, contributing nothing) or replaced by another ("replace-one"). Batches follow a `Schedule`
    that is fixed before training. What is released are the noisy sums, hence all parameters during training; the
    error state is not. The active ledger is charged once, for the whole training, by `make_private`.

    Attributes
    ----------
    claim : Claim
    schedule : Schedule
    settings : Settings
        What the noise was calibrated with.

    Examples
    --------
    >>> engine = ErrorFeedbackEngine()
    >>> model, optimizer, loader = engine.make_private(  # doctest: +SKIP
    ...     module=model, optimizer=optimizer, data_loader=loader, epochs=3, target_epsilon=2.0, target_delta=1e-5
    ... )
    """

    def __init__(self) -> None:
        self._training: _Training | None = None

    def make_private(
        self,
        *,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: DataLoader[Any],
        epochs: int,
        target_epsilon: float | None = None,
        target_delta: float | None = None,
        noise_multiplier: float | None = None,
        max_grad_norm: float = 1.0,
        residual_norm: float | None = None,
        feedback_norm: float | None = None,
        privacy: Privacy = "telescoped",
        neighbours: Neighbours = "add-remove",
        noise: NoiseKind = "exact",
        grad_sample_mode: GradSampleMode = "hooks",
        criterion: Callable[..., torch.Tensor] | None = None,
        max_physical_batch_size: int | None = None,
        random_state: int | None = None,
        noise_seed: int | None = None,
    ) -> tuple[Any, ...]:
        """Return the module, the optimizer and the loader to train with.

        The loss must be the mean over a batch of losses that depend on one record each. Iterate the loader `epochs`
        times; call ``backward``, ``step`` and ``zero_grad`` once for each batch that it gives.

        Parameters
        ----------
        module : torch.nn.Module
            Without layers that mix records, such as batch normalisation.
        optimizer : torch.optim.Optimizer
            Over all parameters of the module that are trained.
        data_loader : DataLoader
            Plain; its data set and batch size are used, its order is not.
        epochs : int
            Steps that a record takes part in.
        target_epsilon, target_delta : float, optional
            What the whole training shall promise; or give `noise_multiplier`.
        noise_multiplier : float, optional
            Deviation of the noise on a batch's sum, over max_grad_norm.
        max_grad_norm : float, default 1
            C1: a record's gradient is clipped to it.
        residual_norm : float, optional
            C3, by default 2·C1: what is cut off between C1 and C3 is remembered, the rest is lost. C1 gives DP-SGD.
        feedback_norm : float, optional
            C2: how much of what is remembered a step pays out at most, in units of a sum. By default C1 times the batch
            size for "telescoped", where it costs nothing, else C1. For the published calibrations it is C1 times what
            their code calls the ratio.
        privacy : {"telescoped", "naive", "paper", "official"}
            "telescoped": our theorem. "naive": everything is remembered, each step pays for C1 + 2·C2. "paper" and
            "official": the published update and noise, with the paper's error state or the published code's; they
            promise nothing, and a warning says so.
        neighbours : {"add-remove", "replace-one"}
        noise : {"exact", "torch"}
            Discrete Gaussian noise from exact samplers, or torch's floating-point normal numbers, which are faster
            and whose claim says what it then assumes.
        grad_sample_mode : {"hooks", "ghost"}
            Per-sample gradients, or three backward passes without them.
        criterion : torch loss, optional
            Needed for "ghost", which returns (module, optimizer, criterion, loader).
        max_physical_batch_size : int, optional
            Let the loader hand out a step's batch in parts of this size.
        random_state : int, optional
            Of the schedule, which is public. Never of the noise.
        noise_seed : int, optional
            For tests: reproducible noise, which voids the claim.

        Returns
        -------
        tuple
            (module, optimizer, loader), with the criterion before the loader if the mode is "ghost".

        Raises
        ------
        InvalidClaim
            If a norm, ε, δ or a choice is out of range.
        InvalidData
            If the optimizer does not have exactly the module's trainable parameters, or a layer mixes records.
        UnsupportedSamplingError
            If the loader samples.
        BudgetExceeded
            If an active ledger has too little left.
        """
        if self._training is not None:
            raise ClaimViolated("an engine makes one training private: take a new one for another")
        for name, value, choices in (
            ("privacy", privacy, Privacy),
            ("noise", noise, NoiseKind),
            ("grad_sample_mode", grad_sample_mode, GradSampleMode),
            ("neighbours", neighbours, Neighbours),
        ):
            check_choice(name, value, choices)
        check_criterion(criterion, grad_sample_mode)
        records, batch_size = records_of(data_loader)
        schedule = Schedule(
            records,
            batch_size,
            epochs,
            random_state=random_state,
            max_physical_batch_size=max_physical_batch_size,
        )
        clip = positive("max_grad_norm", max_grad_norm)
        if privacy == "telescoped":
            limit = 2 * clip if residual_norm is None else residual_norm
            paid = clip * batch_size if feedback_norm is None else feedback_norm
        elif residual_norm is None:
            limit = math.inf
            paid = clip if feedback_norm is None else feedback_norm
        else:
            raise InvalidClaim(f'privacy="{privacy}" remembers all that is cut off: it takes no residual_norm')
        check_norms(clip, limit, paid, _VARIANTS[privacy])
        dimension = sum(p.numel() for p in trained_parameters(module, optimizer).values())
        draft = Settings(
            privacy,
            noise,
            neighbours,
            clip,
            float(limit),
            float(paid),
            1.0,
            records,
            batch_size,
            schedule.epochs,
            schedule.steps,
            dimension,
        )
        settings = replace(
            draft, noise_multiplier=multiplier_for(draft, noise_multiplier, target_epsilon, target_delta)
        )
        if not settings.sound:
            warnings.warn(str(settings.claim()), UnsoundClaimWarning, stacklevel=2)
        wrapped = wrapped_module(module, grad_sample_mode, clip)
        self._start(settings, grad_sample_mode, schedule, wrapped, optimizer, noise_seed, paid_for=False)
        return self._parts(criterion, data_loader)

    @property
    def claim(self) -> Claim:
        """What the training promises, with all that was run again."""
        training = self._begun()
        total = training.claim
        for _ in range(training.times - 1 if training.settings.sound else 0):
            total = total.compose(training.claim)
        return total

    @property
    def schedule(self) -> Schedule:
        """The public schedule, and how far the training is in it."""
        return self._begun().schedule

    @property
    def settings(self) -> Settings:
        """What the noise was calibrated with."""
        return self._begun().settings

    def epsilon(self, delta: float) -> float:
        """ε of the whole training at δ.

        Raises
        ------
        UnsoundClaimError
            If the calibration is a published one, which gives none.
        """
        if not self.settings.sound:
            raise UnsoundClaimError(str(self.claim))
        return self.claim.epsilon_at(delta)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint between two steps, from which the training can be gone on with once.

        It holds the error state, so it is as private as the data: it is readable by its owner only, and it must not be
        moved, copied or published. Publish ``module.state_dict()`` instead. It holds no noise and no key of any.

        Raises
        ------
        ScheduleViolation
            In the middle of a batch.
        """
        training = self._begun()
        training.optimizer.check_between_steps()
        receipt = None if training.receipt is None else asdict(training.receipt)
        schedule = training.schedule
        content = {
            "settings": asdict(training.settings),
            "mode": training.mode,
            "random_state": schedule.random_state,
            "max_physical_batch_size": schedule.max_physical_batch_size,
            "position": schedule.position,
            "times": training.times,
            "receipt": receipt,
            "void": training.claim.void,
            "module": training.module.state_dict(),
            "optimizer": training.optimizer.state_dict(),
        }
        training.marks.append(checkpoint.write(Path(path), content))

    def resume(
        self,
        path: str | Path,
        *,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: DataLoader[Any],
        criterion: Callable[..., torch.Tensor] | None = None,
        repeated_steps: Literal["refuse", "charge"] = "refuse",
    ) -> tuple[Any, ...]:
        """Go on from a checkpoint; returns what `make_private` does.

        The ledger is not charged again for what it was charged for. If a step was taken after the checkpoint was
        written (a crash came later), that step's noisy sum may have been seen, and running it again releases another:
        this is refused, or charged as one more whole training. Each of the two paths moves by at most the sensitivity
        of a whole training, so together they cost twice the claim.

        Parameters
        ----------
        path : str or Path
        module, optimizer, data_loader, criterion
            As they were given to `make_private`: the same model, kind of optimizer and records.
        repeated_steps : {"refuse", "charge"}

        Raises
        ------
        ClaimViolated
            If steps would be run again and are not to be paid for.
        BudgetExceeded
            If they are, and an active ledger has too little left.
        InvalidData
            If the file is no checkpoint, or model or records are of another size.
        """
        if self._training is not None:
            raise ClaimViolated("an engine makes one training private: take a new one to resume")
        check_choice("repeated_steps", repeated_steps, Literal["refuse", "charge"])
        saved, mark = checkpoint.read(Path(path))
        again = mark.set
        if again and repeated_steps == "refuse":
            raise ClaimViolated(
                "steps were taken after this checkpoint, and their noise may have been seen: running them again is "
                'one more training to pay for (repeated_steps="charge")'
            )
        settings = Settings(**saved["settings"])
        dimension = sum(p.numel() for p in trained_parameters(module, optimizer).values())
        if dimension != settings.dimension or records_of(data_loader) != (settings.records, settings.batch_size):
            raise InvalidData("model, records or batch size are not those of the checkpoint: their sizes differ")
        schedule = Schedule(
            settings.records,
            settings.batch_size,
            settings.epochs,
            random_state=saved["random_state"],
            max_physical_batch_size=saved["max_physical_batch_size"],
        )
        schedule.position = saved["position"]
        check_criterion(criterion, saved["mode"])
        receipt = None if saved["receipt"] is None else ledgers.Receipt(**saved["receipt"])
        wrapped = wrapped_module(module, saved["mode"], settings.max_grad_norm)
        wrapped.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"]["optimizer"])
        self._start(
            settings,
            saved["mode"],
            schedule,
            wrapped,
            optimizer,
            None,
            paid_for=not again and _stands(receipt),
            void=saved["void"],
            error=saved["optimizer"]["error"],
        )
        training = self._begun()
        training.times = saved["times"] + again
        training.receipt = training.receipt or receipt
        training.marks += [] if again else [mark]
        return self._parts(criterion, data_loader)

    def close(self) -> None:
        """End the training: no noise can be drawn for it any more. Unused steps stay paid for."""
        training = self._begun()
        if training.release is not None:
            training.release.__exit__(None, None, None)
            training.release = None

    def _start(
        self,
        settings: Settings,
        mode: GradSampleMode,
        schedule: Schedule,
        module: Any,
        optimizer: torch.optim.Optimizer,
        noise_seed: int | None,
        *,
        paid_for: bool,
        void: str = "",
        error: list[torch.Tensor] | None = None,
    ) -> None:
        """Pay, unless that was done, and put the optimizer together with its noise."""
        claim, release = replace(settings.claim(), void=void), None
        source: Noise
        if settings.sound:
            release = Release(settings.claim(), _purpose(settings), seed=noise_seed)
            if paid_for:  # by a charge that stands: so in a context without a ledger in it
                contextvars.Context().run(release.__enter__)
            else:
                release.__enter__()
            prepaid = release.prepaid(settings.event())
            claim = release.claim if not void else claim
            source = ExactNoise(prepaid, settings) if settings.noise == "exact" else _torch_noise(settings, noise_seed)
        else:
            source = _torch_noise(settings, noise_seed)
        names = trained_parameters(module, optimizer)
        private = ErrorFeedbackOptimizer(
            optimizer,
            max_grad_norm=settings.max_grad_norm,
            residual_norm=settings.residual_norm,
            feedback_norm=settings.feedback_norm,
            expected_batch_size=settings.batch_size,
            variant=_VARIANTS[settings.privacy],
            noise=source,
            schedule=schedule,
            names=list(names),
            error=error,
        )
        private.before_release = self._before_release
        receipt = None if release is None else release.receipt
        self._training = _Training(settings, mode, schedule, release, claim, 1, receipt, module, private, [])

    def _parts(self, criterion: Callable[..., torch.Tensor] | None, loader: DataLoader[Any]) -> tuple[Any, ...]:
        training = self._begun()
        scheduled = ScheduledLoader(training.schedule, loader)
        if training.mode == "hooks":
            return training.module, training.optimizer, scheduled
        wrapped = GhostCriterion(criterion, training.module, training.optimizer)
        return training.module, training.optimizer, wrapped, scheduled

    def _before_release(self) -> None:
        """Before the noise of a step is drawn: leave marks beside the checkpoints that it follows."""
        training = self._begun()
        if training.release is None and training.settings.sound:
            raise ClaimViolated("this training was closed")
        if training.release is not None:
            training.release.check_open()
        for mark in training.marks:
            mark.leave()
        training.marks.clear()

    def _begun(self) -> _Training:
        if self._training is None:
            raise ClaimViolated("nothing was made private yet: call make_private")
        return self._training


def _purpose(settings: Settings) -> str:
    return f"training with error feedback ({settings.privacy}), {settings.epochs} epochs"


def _torch_noise(settings: Settings, seed: int | None) -> TorchNoise:
    return TorchNoise(settings.deviation, None if seed is None else torch.Generator().manual_seed(seed))


def _stands(receipt: ledgers.Receipt | None) -> bool:
    """Whether the active ledger has this charge, or there is no ledger that could ask for one."""
    scope = ledgers.active()
    if scope is None:
        return True
    ledger, dataset = scope
    return receipt is not None and any(charge.hash == receipt.hash for charge in ledger.history(dataset))
