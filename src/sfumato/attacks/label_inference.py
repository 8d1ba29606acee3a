"""Read people's labels out of the mean labels of their bags, with what their features say.

For whoever is about to hand out averages. The posterior is exact for bags told once (the Poisson-binomial law); the
ceiling on coins is that of Steinke, Nasr and Jagielski (2023). Releases: Javanmard et al. (ICLR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, sparse, stats
from sklearn.linear_model import LogisticRegression

from sfumato.attacks.bayesian_audit.one_run import one_run_pvalue
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL, PureDP
from sfumato.privacy.claim import Claim

__all__ = ["LabelInference", "advantage_ceiling", "solve_overlapping"]

Floats: TypeAlias = NDArray[np.float64]
Noise: TypeAlias = Literal["laplace", "gaussian"]

_EXTREME = 1e-6  # priors stay this far from 0 and 1


@dataclass(frozen=True, eq=False)
class LabelInference:
    """What an adversary who knows all features and the assignment believes about each binary label.

    Labels are taken to be independent given the features. The prior of each is a logistic model of the features, fitted
    to the very means that are attacked, by expectation maximisation; the posterior then conditions on the bag's (noisy)
    sum, exactly. Without features the prior is the overall mean.

    Parameters
    ----------
    bag_id : array_like of int, shape (n,)
        Bags 0 .. m-1; -1 for people in none, about whom nothing but the prior is told.
    X : array_like of float, shape (n, d), optional
        Public features.
    noise : {"laplace", "gaussian"}
        Shape of the noise, where there is any.
    rounds : int, default 10
        Of expectation maximisation.

    Raises
    ------
    InvalidData
        If a parameter does not have that form.

    Examples
    --------
    >>> LabelInference([0, 0, 1, 1]).posterior([0.5, 1.0]).tolist()
    [0.5, 0.5, 1.0, 1.0]
    """

    bag_id: ArrayLike
    X: ArrayLike | None = None
    noise: Noise = "laplace"
    rounds: int = 10

    def __post_init__(self) -> None:
        ids = np.asarray(self.bag_id)
        if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu" or ids.min() < -1:
            raise InvalidData("bag_id must be whole numbers from -1, one a person")
        if self.X is not None:
            features = np.asarray(self.X, np.float64)
            if features.ndim != 2 or len(features) != len(ids) or not np.isfinite(features).all():
                raise InvalidData("X must be finite, of shape (n, d), a row for each entry of bag_id")
        if self.noise not in get_args(Noise):
            raise InvalidData(f"noise must be one of {', '.join(get_args(Noise))}")
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 0:
            raise InvalidData("rounds must be a whole number, at least 0")

    def posterior(self, means: ArrayLike, noise_variance: ArrayLike | None = None) -> Floats:
        """Probability of label 1 for each person, shape (n,).

        Parameters
        ----------
        means : array_like of float, shape (m,)
        noise_variance : array_like of float, shape (m,), optional
            Of each mean; 0, or left out, for exact ones.
        """
        ids = np.asarray(self.bag_id, np.int64)
        values = np.asarray(means, np.float64)
        variance = np.zeros_like(values) if noise_variance is None else np.asarray(noise_variance, np.float64)
        sizes = np.bincount(ids[ids >= 0], minlength=len(values))
        if values.ndim != 1 or len(sizes) != len(values) or variance.shape != values.shape or (sizes == 0).any():
            raise InvalidData("means and noise_variance must have one entry a bag, each bag somebody in it")
        overall = float(np.average(values, weights=sizes))
        prior = np.full(len(ids), np.clip(overall, 0.01, 0.99))
        belief = _given_sums(prior, ids, values, variance, self.noise)
        for _ in range(self.rounds if self.X is not None else 0):
            prior = _logistic(np.asarray(self.X, np.float64), belief)
            belief = _given_sums(prior, ids, values, variance, self.noise)
        return belief

    def attack(
        self,
        means: ArrayLike,
        labels: ArrayLike,
        claim: Claim,
        *,
        noise_variance: ArrayLike | None = None,
        guesses: int | None = None,
        fair_coins: bool = False,
        delta: float = 1e-6,
        level: float = 0.95,
        random_state: int | None = None,
    ) -> Evidence:
        """Guess labels, and set the advantage 2·accuracy - 1 against the claim.

        Only labels that were thrown as fair coins, apart from each other and from the features, say what the *release*
        betrays: others can be guessed from the population, which no label-DP forbids. On coins, guesses of an ε-DP
        release are right no more often than independent ones of probability e^ε/(1 + e^ε), all people together.

        Parameters
        ----------
        means, noise_variance
            As in `posterior`.
        labels : array_like of {0, 1}, shape (n,)
            The truth.
        claim : Claim
            Of the release. A void one is judged by its bound.
        guesses : int, optional
            Name the labels of that many people only, those of whom the adversary is surest; everybody's by default.
            Fixed before the release is seen.
        fair_coins : bool, default False
            Whether the labels are such coins; without it the verdict is "inconclusive".
        delta : float, default 1e-6
            At which a claim that is not pure is read.
        level : float, default 0.95
        random_state : int, optional
            Flips the coins where a posterior is exactly ½.

        Returns
        -------
        Evidence
        """
        truth = np.asarray(labels)
        if truth.shape != np.shape(self.bag_id) or not np.isin(truth, (0, 1)).all():
            raise InvalidData("labels must be 0 or 1, one a person")
        belief = self.posterior(means, noise_variance)
        n, said = len(truth), len(truth) if guesses is None else guesses
        if isinstance(said, bool) or not isinstance(said, (int, np.integer)) or not 1 <= said <= n:
            raise InvalidData("guesses must be a whole number from 1 to the number of people")
        right = _right(belief, truth, int(said), np.random.default_rng(random_state))
        tail = (1 - level) / 2
        low, high = float(clopper_pearson_lower(right, said, tail)), float(clopper_pearson_upper(right, said, tail))
        return Evidence(
            attack="label inference from bag means",
            metric="advantage over a coin, 2·accuracy - 1",
            value=2 * right / said - 1,
            interval=(2 * low - 1, 2 * high - 1),
            level=level,
            samples=int(said),
            claim=claim,
            verdict=_verdict(claim, n, int(said), right, delta, 1 - level) if fair_coins else "inconclusive",
            notes=_notes(claim, fair_coins),
        )


def advantage_ceiling(claim: Claim) -> float | None:
    """Largest advantage over a fair coin that a claim about a replaced label allows; None if it is not formal.

    Total variation of neighbours, at most δ(0): (e^ε - 1)/(e^ε + 1) for pure ε.
    """
    return replace(claim, void="").delta_at(0.0) if isinstance(claim.bound, FORMAL) else None


def solve_overlapping(bag_ids: Sequence[ArrayLike], means: Sequence[ArrayLike]) -> Floats:
    """Labels in [0, 1] that agree best, in least squares, with the means of several partitions of the same people.

    A second partition of the same people makes differences, and differences make labels.

    Parameters
    ----------
    bag_ids : sequence of array_like of int, each shape (n,)
        -1 for people in no bag.
    means : sequence of array_like of float
        The means of each partition.

    Returns
    -------
    ndarray of float, shape (n,)
    """
    if not len(bag_ids) or len(bag_ids) != len(means):
        raise InvalidData("expected as many vectors of means as partitions, at least one")
    blocks = []
    for bag_id, values in zip(bag_ids, means, strict=True):
        ids = np.asarray(bag_id, np.int64)
        people = np.flatnonzero(ids >= 0)
        sizes = np.bincount(ids[people], minlength=len(np.asarray(values)))
        if len(sizes) != len(np.asarray(values)) or len(ids) != len(np.asarray(bag_ids[0])):
            raise InvalidData("each partition needs one entry a person and one mean a bag")
        share = 1 / sizes[ids[people]]
        blocks.append(sparse.csr_array((share, (ids[people], people)), shape=(len(sizes), len(ids))))
    target = np.concatenate([np.asarray(values, np.float64) for values in means])
    found = optimize.lsq_linear(sparse.vstack(blocks).tocsr(), target, bounds=(0, 1), lsmr_tol="auto")
    return np.asarray(found.x, np.float64)


def _given_sums(prior: Floats, ids: NDArray[np.int64], means: Floats, variance: Floats, noise: Noise) -> Floats:
    """Posterior of each label given its bag's mean; people in no bag keep their prior."""
    belief = prior.copy()
    order = np.argsort(ids, kind="stable")
    order = order[ids[order] >= 0]
    sizes = np.bincount(ids[order])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    for k in np.unique(sizes):
        bags = np.flatnonzero(sizes == k)
        people = order[starts[bags][:, np.newaxis] + np.arange(k)]
        likelihood = _likelihood(means[bags], variance[bags], int(k), noise)
        belief[people] = _smooth(np.clip(prior[people], _EXTREME, 1 - _EXTREME), likelihood)
    return belief


def _smooth(p: Floats, likelihood: Floats) -> Floats:
    """Posteriors of k independent coins given the likelihood of their sum: forward and backward over the people.

    Parameters
    ----------
    p : ndarray, shape (m, k)
    likelihood : ndarray, shape (m, k + 1)
        Of the sums 0 .. k.
    """
    m, k = p.shape
    backward = [likelihood]  # of what is seen, given the sum of the people before
    for j in range(k - 1, 0, -1):
        later, one = backward[-1], p[:, j, np.newaxis]
        shifted = np.concatenate((later[:, 1:], np.zeros((m, 1))), axis=1)
        backward.append((1 - one) * later + one * shifted)
    backward.reverse()
    forward = np.zeros((m, k + 1))
    forward[:, 0] = 1.0
    found = np.empty_like(p)
    for j in range(k):
        yes = p[:, j] * (forward[:, :-1] * backward[j][:, 1:]).sum(axis=1)
        no = (1 - p[:, j]) * (forward * backward[j]).sum(axis=1)
        found[:, j] = yes / (yes + no)
        moved = np.concatenate((np.zeros((m, 1)), forward[:, :-1]), axis=1)
        forward = (1 - p[:, j, np.newaxis]) * forward + p[:, j, np.newaxis] * moved
    return found


def _likelihood(means: Floats, variance: Floats, k: int, noise: Noise) -> Floats:
    gaps = means[:, np.newaxis] - np.arange(k + 1) / k
    exact = np.zeros_like(gaps)
    exact[np.arange(len(means)), np.argmin(np.abs(gaps), axis=1)] = 1.0
    deviation = np.sqrt(np.where(variance > 0, variance, 1.0))[:, np.newaxis]
    law: Any = stats.laplace(scale=deviation / np.sqrt(2)) if noise == "laplace" else stats.norm(scale=deviation)
    logs = law.logpdf(gaps)
    noisy = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.where(variance[:, np.newaxis] > 0, noisy, exact)


def _logistic(X: Floats, belief: Floats) -> Floats:
    """Logistic model of soft labels: each person counts once with either label, weighted by the belief in it."""
    deviation = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    weights = np.concatenate((belief, 1 - belief))
    labels = np.repeat([1, 0], len(X))
    model = LogisticRegression(max_iter=200).fit(np.vstack((Z, Z)), labels, sample_weight=weights)
    return np.asarray(model.predict_proba(Z)[:, 1], np.float64)


def _right(belief: Floats, truth: NDArray[Any], guesses: int, rng: np.random.Generator) -> int:
    """Right guesses about the people whose posterior is farthest from ½; where it is ½, coins are thrown."""
    sure = np.abs(belief - 0.5)
    named = np.lexsort((rng.random(len(sure)), -np.round(sure, 9)))[:guesses]
    guess = np.where(sure < 1e-9, rng.random(len(sure)) < 0.5, belief > 0.5)
    return int((guess[named] == truth[named]).sum())


def _verdict(claim: Claim, n: int, guesses: int, right: int, delta: float, alpha: float) -> Verdict:
    if not isinstance(claim.bound, FORMAL):
        return "inconclusive"
    at = 0.0 if isinstance(claim.bound, PureDP) else delta
    pvalue = one_run_pvalue(n, guesses, right, replace(claim, void="").epsilon_at(at), at)
    return "falsified" if pvalue < alpha else "consistent"


def _notes(claim: Claim, fair_coins: bool) -> tuple[str, ...]:
    ceiling = advantage_ceiling(claim)
    said = "the claim promises nothing" if ceiling is None else f"the claim allows at most {ceiling:.4g} on fair coins"
    return (
        (said,) if fair_coins else (said, "the labels are no coins: the advantage includes what the population tells")
    )
