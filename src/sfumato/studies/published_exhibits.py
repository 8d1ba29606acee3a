"""The museum's room of published systems: re-enacted on the smallest data that shows what is wrong with each.

For `sfumato.studies.museum`. Each is written from its paper or from a reading of its code, as the label says, and runs
on made-up data; none of it is the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import optimize

from sfumato.attacks import mechanisms as m
from sfumato.privacy.bounds import ZCDP, ApproxDP, GaussianDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.studies.bandit_exhibits import bandits
from sfumato.studies.exhibit import Exhibit, Floats

_GRID = 2.0**20  # outputs are rounded to this grid: their low bits are another exhibit


def published() -> Iterator[Exhibit]:
    """Yield the exhibits of this room."""
    yield from (_dice_sgd(), _dp_lora(), _speech_bottleneck(), _determinant_sync(), _bandit_noise())
    yield from (_metric_response(), _printed_error(), _survival_package())
    yield from bandits()


def _dice_sgd() -> Exhibit:
    return Exhibit(
        "dice-sgd",
        "DiceSGD with the noise of its code",
        "update and noise of the official code of Zhang et al. (ICLR 2024, arXiv 2311.14632), as read for system 29",
        Claim(ApproxDP(2.0, 50_000**-1.1), unit="record"),
        _official_dice,
        [(True, False)],
        "everybody's gradient is 0; that of one record is 1000 clipping norms, or it is not there",
        "The noise is amplified by sampling, but what clipping cut off is fed back in steps that the record is not in.",
        "Clip the residual too, fix the schedule, and pay for all that a record moves in all steps, without sampling.",
        _telescoped_dice,
        {"scores": ("threshold",)},
    )


_STEPS, _SAMPLED, _RATIO, _GRADIENT = 150, 0.02, 10.0, 1000.0
_MULTIPLIER = 1.023  # for ε = 2 at δ = 50,000^-1.1, 150 steps at rate 0.02, by dp-accounting


def _official_dice(present: Any, n: int, rng: np.random.Generator, /) -> Floats:
    """Log-likelihood of "one record pays 1, then 10 and 10" against noise alone, summed over the released steps."""
    sigma = _MULTIPLIER * math.sqrt(1 + 2 * _RATIO)
    sums = rng.normal(scale=sigma, size=(n, _STEPS))
    error = np.zeros(n)
    for t in range(_STEPS):
        here = (rng.random(n) < _SAMPLED) & bool(present)
        share = _RATIO / (error + 1e-6)
        fed = error * np.minimum(share, 1)
        sums[:, t] += fed + here
        error = error * np.minimum(share, 1 - np.minimum(share, 1)) + here * (_GRADIENT - 1)
    pattern = np.array([1.0, _RATIO, _RATIO])
    windows = np.lib.stride_tricks.sliding_window_view(sums, 3, axis=1) @ pattern
    ratios = np.log1p(_SAMPLED * np.expm1((windows - pattern @ pattern / 2) / sigma**2))
    return _rounded(ratios.sum(axis=1))


def _telescoped_dice(present: Any, n: int, rng: np.random.Generator, /) -> Floats:
    """Sum of the steps in which the record pays: one turn in each of three epochs, residuals clipped to 1."""
    turns, residual = 3, 1.0
    moved = math.sqrt(turns) + turns * residual  # bounds the root of the summed squares of all that one record moves
    sigma = moved * _gaussian_scale(2.0, 50_000**-1.1)
    paid = turns * (1 + residual) if present else 0.0  # each turn its clipped gradient, and in the next step the rest
    return _rounded(paid + rng.normal(scale=sigma * math.sqrt(2 * turns), size=n))


def _dp_lora() -> Exhibit:
    claim = Claim(ApproxDP(2.0, 1e-5), unit="record", neighbours="replace-one")
    return Exhibit(
        "dp-lora",
        "DP-LoRA: a clipped batch gradient, twice",
        "the noise and clipping of Liu et al. (arXiv 2312.17493) for one iteration, as notes on the paper state them "
        "(system 37)",
        claim,
        _batch_clipped,
        [(1.0, -1.0)],
        "a batch whose mean gradients lie far up, and one record replaced so that they lie far down",
        "One record can turn a clipped batch gradient round, by 2C, and those of two matrices are released; the noise "
        "is for C.",
        "Clip each record's gradient over both matrices together, sum, and scale the noise to 2C.",
        _record_clipped,
    )


def _batch_clipped(mean: Any, n: int, rng: np.random.Generator, /) -> Floats:
    """Gradients of both matrices, one parameter each, C = 1; sigma is the paper's formula."""
    sigma = math.sqrt(2 * math.log(1.25 / 1e-5)) / 2.0
    clipped = np.clip(np.array([mean, mean]) * 50, -1, 1)
    return _rounded(clipped + rng.normal(scale=sigma, size=(n, 2)))


def _record_clipped(mean: Any, n: int, rng: np.random.Generator, /) -> Floats:
    joint = np.array([mean, mean]) / math.sqrt(2)  # the replaced record; the others cancel
    return _rounded(joint + rng.normal(scale=2 * _gaussian_scale(2.0, 1e-5), size=(n, 2)))


def _speech_bottleneck() -> Exhibit:
    return Exhibit(
        "speech-bottleneck",
        "Laplace noise on normalised speech features",
        "the noise of tdnnf_dp.py in the SA-toolkit (Champion, arXiv 2308.04455), as read for system 06; at ε = 1, "
        "where its configuration has 160,000",
        Claim(PureDP(1.0), unit="record", neighbours="replace-one", trust="local"),
        lambda x, n, rng, /: _noisy_frame(x, 1.0, n, rng),
        [(np.array([1.0, 0.0]), np.array([-1.0, 0.0]))],
        "one frame of two features, (1, 0) or (-1, 0)",
        "Vectors of norm 1 can lie 2 apart, and the scale is that of a distance of 1.",
        "Scale 2 over ε for each frame, whatever the size of the batch.",
        lambda x, n, rng, /: _noisy_frame(x, 2.0, n, rng),
    )


def _noisy_frame(x: Any, scale: float, n: int, rng: np.random.Generator) -> Floats:
    noisy = np.asarray(x) + rng.laplace(scale=scale, size=(n, len(x)))
    return _rounded(noisy / np.abs(noisy).sum(axis=1, keepdims=True))


def _determinant_sync() -> Exhibit:
    calm = np.tile([1.0, 0.0], (30, 1))
    changed = calm.copy()
    changed[4] = [0.0, 1.0]
    return Exhibit(
        "determinant-sync",
        "A federated bandit that synchronises when its data say so",
        "the rule of Dubey and Pentland (NeurIPS 2020), as described by Zhou and Chowdhury (ICLR 2024) (system 18)",
        Claim(ApproxDP(1.0, 1e-5), unit="user", neighbours="replace-one", trust="silo"),
        lambda contexts, n, rng, /: _synchronise(contexts, _determinant_moment(contexts), n, rng),
        [(calm, changed)],
        "thirty users of one silo with the same context; the fifth has it or another",
        "The moment of a message is read off the raw contexts by a determinant, and everybody sees when it comes.",
        "Send after a fixed number of users.",
        lambda contexts, n, rng, /: _synchronise(contexts, 10, n, rng),
    )


def _determinant_moment(contexts: Floats) -> int:
    """Users before the first message: when the determinant of the regularised Gram matrix has grown eightfold."""
    for t in range(1, len(contexts) + 1):
        if np.linalg.det(np.eye(2) + contexts[:t].T @ contexts[:t]) >= 8:
            return t
    return len(contexts)


def _synchronise(contexts: Any, moment: int, n: int, rng: np.random.Generator) -> Floats:
    """The moment, and the Gram matrix with sound noise: that of one user moves by √2 at most."""
    gram = contexts[:moment].T @ contexts[:moment]
    noisy = gram.ravel() + rng.normal(scale=math.sqrt(2) * _gaussian_scale(1.0, 1e-5), size=(n, 4))
    return _rounded(np.column_stack([np.full(n, moment), noisy]))


def _bandit_noise() -> Exhibit:
    # Two users as far apart as their joint contribution, Gram matrix and rewarded context, allows: √4.5.
    p, q = np.array([1.0, 0.0]), np.array([-0.5, math.sqrt(0.75)])
    return Exhibit(
        "bandit-noise",
        "A federated bandit's experiment, without the sensitivity in its noise",
        "the scale √(κ (ln 1/δ + ε)) / ε of the experiment code of Zhou and Chowdhury (ICLR 2024), as read for system "
        "18; one message, ε = 1 and δ = 1e-5 chosen here",
        Claim(ApproxDP(1.0, 1e-5), unit="user", neighbours="replace-one", trust="silo"),
        lambda user, n, rng, /: _message(user, math.sqrt(math.log(1e5) + 1), n, rng),
        [((p, 1.0), (q, -1.0))],
        "one user with context (1, 0) and reward 1, or with another context and reward -1",
        "A replaced user moves the Gram matrix and the rewarded context by √4.5 together, not by 1.",
        "Scale the noise to √4.5, by the exact Gaussian bound.",
        lambda user, n, rng, /: _message(user, math.sqrt(4.5) * _gaussian_scale(1.0, 1e-5), n, rng),
        {"n_test": 200_000, "scores": ("linear",), "candidates": 1},
    )


def _message(user: Any, sigma: float, n: int, rng: np.random.Generator) -> Floats:
    context, reward = user
    noise = rng.normal(scale=sigma, size=(n, 6))
    gram = np.outer(context, context) + (noise[:, :4].reshape(n, 2, 2) + noise[:, [0, 2, 1, 3]].reshape(n, 2, 2)) / 2
    return _rounded(np.column_stack([gram.reshape(n, 4), reward * context + noise[:, 4:]]))


def _metric_response() -> Exhibit:
    return Exhibit(
        "metric-response",
        "Metric privacy taken for local privacy",
        "the smooth randomized response of Liu and Rahimian (FORC 2025, arXiv 2502.19525), read as local privacy for "
        "any two signals, which it is not (system 07)",
        Claim(PureDP(1.0), unit="person", neighbours="replace-one", trust="local"),
        lambda signal, n, rng, /: _flipped(signal, 0.5 * math.exp(-abs(signal)), n, rng),
        [(5.0, -5.0)],
        "a signal of 5 and one of -5; the threshold is 0",
        "ε is paid for each unit of distance: far signals are hardly ever flipped, and near ones would have been.",
        "Say that neighbours are signals at most 1 apart, or flip all with probability 1 / (1 + e^ε).",
        lambda signal, n, rng, /: _flipped(signal, 1 / (1 + math.e), n, rng),
    )


def _flipped(signal: float, probability: float, n: int, rng: np.random.Generator) -> Any:
    return ((signal > 0) ^ (rng.random(n) < probability)).astype(np.int64)


def _printed_error() -> Exhibit:
    return Exhibit(
        "printed-error",
        "A synthesizer that prints how far it is from the truth",
        "the official code of Private-GSD (Liu et al., ICML 2023), which prints the true error of its output, as read "
        "for system 24; one count stands for the table",
        Claim(ZCDP(0.5)),
        lambda count, n, rng, /: _with_error(count, None, n, rng),
        [(10, 11)],
        "a count of 10 and one of 11",
        "A noisy count and its distance from the true one are the true one, up to a sign.",
        "Print the distance to the noisy count.",
        lambda count, n, rng, /: _with_error(count, "noisy", n, rng),
    )


def _with_error(count: int, against: str | None, n: int, rng: np.random.Generator) -> Floats:
    """A synthetic count, fitted to a noisy one, and its error."""
    noisy = count + rng.normal(size=n)
    synthetic = np.round(noisy)
    return _rounded(np.column_stack([synthetic, np.abs(synthetic - (count if against is None else noisy))]))


def _survival_package() -> Exhibit:
    return Exhibit(
        "survival-package",
        "A Kaplan-Meier estimator with a default seed",
        "dp_kaplan_meier of the package survival 2.0.0 (PyPI), which repeats its noise at each call, returns it, and "
        "returns the patients' times; its seed is 42 unless another is given (system 01)",
        Claim(PureDP(1.0)),
        lambda times, n, rng, /: np.tile(_seeded_curve(times, np.random.default_rng(42)), (n, 1)),
        [(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]))],
        "three patients who die at 1, 2 and 3, and a fourth who dies at 4",
        "The noise is the same for everybody who does not ask for other noise, and the times have none at all.",
        "Count in public intervals, with noise from the system.",
        _counted,
    )


def _seeded_curve(times: Floats, rng: np.random.Generator) -> Floats:
    """Times and noisy survival at each, padded to four patients."""
    curve = 1 - np.arange(1, len(times) + 1) / len(times)
    noisy = np.clip(curve + rng.laplace(scale=len(times), size=len(times)) / len(times), 0, 1)
    gap = np.full(4 - len(times), np.nan)
    return np.concatenate([times, gap, _rounded(noisy), gap])


def _counted(times: Floats, n: int, rng: np.random.Generator, /) -> Floats:
    counts = np.histogram(times, bins=[0.0, 2.5, 5.0])[0]
    return np.asarray(m.NoisyHistogram(1.0)(counts, n, rng))


def _gaussian_scale(epsilon: float, delta: float) -> float:
    """Deviation of Gaussian noise over the sensitivity at which ε and δ hold exactly."""

    def excess(sigma: float) -> float:
        return Claim(GaussianDP(1 / sigma)).epsilon_at(delta) - epsilon

    return float(optimize.brentq(excess, 0.1, 100.0)) * (1 + 1e-9)


def _rounded(values: Any) -> Floats:
    return np.asarray(np.round(np.asarray(values, dtype=np.float64) * _GRID) / _GRID)
