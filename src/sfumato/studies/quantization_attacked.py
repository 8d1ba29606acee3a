"""Attacks on quantised reports, for the study of randomized quantization: an audit, two candidates, a picture.

The server, or whoever sees a client's reports, knows the mechanism and the weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.attacks.coins import accuracy_ceiling
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower
from sfumato.federation.quantization import RQM, QuantizedMean, coordinate_clip
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.studies.quantization_digits import Digits
from sfumato.studies.study import Row

Floats = NDArray[np.float64]

CLIP = 0.1
QUIET = RQM(CLIP, 2 * CLIP, levels=4, keep_probability=0.3)  # ε = 1.05 a coordinate


def rows(draws: int, games: int, seed: int) -> Iterator[Row]:
    """Yield the study's rows of attacks."""
    yield _audit_row(draws, seed)
    yield from _candidate_rows(games, seed)
    yield _picture_row(seed)


def _audit_row(draws: int, seed: int) -> Row:
    """The ε that is certified from reports alone."""
    mechanism = RQM(1.5, 1.5)
    auditor = Auditor(n_test=draws, n_train=draws // 20, n_select=draws // 20, scores=("histogram",), random_state=seed)

    def reports(x: Floats, n: int, rng: np.random.Generator, /) -> Floats:
        return mechanism.encode(np.tile(x, (n, 1))).astype(np.float64)

    report = auditor.audit(reports, mechanism.claim, pairs=[(np.array([1.5]), np.array([-1.5]))])
    epsilon = mechanism.epsilon_local()
    return Row(
        f"audit of one report, Δ = c, q = 0.42, {draws:,} draws a side: certified ε of {epsilon:.3f}",
        "within 15 % (our target, at 10⁷ draws)",
        f"{report.eps_lower:.3f} ({report.eps_lower / epsilon:.0%}): {report.verdict}",
        None if draws < 10_000_000 else 0.85 * epsilon <= report.eps_lower <= epsilon,
    )


def two_candidates(mean: QuantizedMean, first: Floats, second: Floats, claim: Claim, games: int) -> Evidence:
    """Which of two gradients did this client report? The likelihood ratio of exact laws, which no guess beats."""
    coins = np.random.default_rng(0).integers(0, 2, games)
    reports = mean.encode(np.where(coins[:, np.newaxis] == 0, first, second))
    laws = [np.log(mean.mechanism.pmf(mean.prepare(each[np.newaxis])[0])) for each in (first, second)]
    place = np.arange(mean.size)
    scores = [law[place, reports].sum(axis=1) for law in laws]
    right = int(((scores[1] > scores[0]) == (coins == 1)).sum())
    lower = float(clopper_pearson_lower(right, games, 0.01))
    verdict: Verdict = "falsified" if lower > _ceiling(claim) else "consistent"
    return Evidence(
        "two candidates",
        "accuracy",
        right / games,
        (lower, 1.0),
        0.99,
        games,
        claim,
        verdict,
    )


def _ceiling(claim: Claim) -> float:
    ceiling = accuracy_ceiling(claim)
    assert ceiling is not None  # the claims here are formal
    return ceiling


def _candidate_rows(games: int, seed: int) -> Iterator[Row]:
    digits = Digits.load()
    rng = np.random.default_rng(seed)
    zero, one = (int(rng.choice(np.flatnonzero(digits.y == label))) for label in (0, 1))
    weights = np.zeros(digits.model.size)
    first, second = (digits.model.gradient(weights, digits.x[[k]], digits.y[[k]]) for k in (zero, one))
    mean = QuantizedMean(QUIET, digits.model.size, "linf")
    one_coordinate = Claim(PureDP(QUIET.epsilon_local()), unit="user", neighbours="replace-one", trust="local")
    for name, claim, expected in (
        (f"a coordinate's ε = {QUIET.epsilon_local():.2f}, stated as the client's", one_coordinate, "falsified"),
        ("the composed claim", mean.claim, "consistent"),
    ):
        found = two_candidates(mean, first, second, claim, games)
        yield Row(
            f"a client whose one image is a 0 or a 1, its report of 650 coordinates seen in the open: the attacker is "
            f"right; against {name}",
            f"at most {_ceiling(claim):.3f} if the claim holds",
            f"{found.value:.3f} [{found.interval[0]:.3f}, 1]: {found.verdict}",
            found.verdict == expected,
        )
    yield _opposite_row(games)


def _opposite_row(games: int) -> Row:
    """A claim for the vector that says something, against its worst pair: opposite gradients of full norm."""
    d = Digits.load().model.size
    c = coordinate_clip(1.0, d)
    mean = QuantizedMean(RQM(c, 20 * c, levels=4, keep_probability=0.02), d, "l2", 1.0)
    gradient = np.eye(1, d)[0]
    found = two_candidates(mean, gradient, -gradient, mean.claim, games)
    return Row(
        f"opposite gradients of norm 1 in 2 bits a coordinate, Δ = 20c, q = 0.02, l2 clip and rotation, ε₂ = "
        f"{mean.price().vector:.2f} a vector, seen in the open: the attacker is right; against the claim of the vector",
        f"at most {_ceiling(mean.claim):.3f} if the claim holds",
        f"{found.value:.3f} [{found.interval[0]:.3f}, 1]: {found.verdict}",
        found.verdict == "consistent",
    )


def reconstructed(gradient: Floats, label: int, features: int, classes: int) -> Floats:
    """A client's one image from its gradient at weights 0: each class's column is the image times p - 1[label]."""
    columns = gradient.reshape(features + 1, classes)[:-1]
    residual = np.full(classes, 1 / classes)
    residual[label] -= 1
    return np.asarray(columns @ residual / (residual @ residual))


def _picture_row(seed: int) -> Row:
    """Gradient inversion: how much the image read off a report looks like the true one."""
    digits = Digits.load()
    rng = np.random.default_rng(seed)
    paper = QuantizedMean(RQM(0.9, 0.9), digits.model.size, "linf")
    alone, among = [], []
    for _ in range(40):
        chosen = rng.choice(len(digits.y), 40, replace=False)
        weights = np.zeros(digits.model.size)
        gradients = np.array([digits.model.gradient(weights, digits.x[[k]], digits.y[[k]]) for k in chosen])
        reports = paper.encode(gradients)
        label = int(digits.y[chosen[0]])
        own = reconstructed(paper.decode_sum(reports[0].astype(np.int64), 1), label, 64, 10)
        summed = reconstructed(40 * paper.decode_sum(reports.sum(axis=0, dtype=np.int64), 40), label, 64, 10)
        alone.append(np.corrcoef(own, digits.x[chosen[0]])[0, 1])
        among.append(np.corrcoef(summed, digits.x[chosen[0]])[0, 1])
    return Row(
        "the image of a client with one image, read off its report (Δ = c = 0.9, q = 0.42, pixels in [0, 1]): "
        "correlation with the true one, seen alone; in the sum of 40",
        "not found",
        f"{np.mean(alone):.2f} ± {np.std(alone) / 40**0.5:.2f}; {np.mean(among):.2f} ± {np.std(among) / 40**0.5:.2f}",
        None,
    )
