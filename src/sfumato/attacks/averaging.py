"""The averaging attack: ask the same question again and again, and average the noise away.

For whoever publishes an answering service and must show that its noise is drawn once. Against noise that is drawn
afresh for each answer: Dinur and Nissim 2003; Denning 1980.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from sfumato.attacks.coins import verdict_on_accuracy
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, clopper_pearson_lower
from sfumato.privacy.claim import Claim

#: Answers one question once.
Ask: TypeAlias = Callable[[], float]


def averaging_attack(
    publish: Callable[[Any], Ask],
    pair: tuple[Any, Any],
    claim: Claim,
    *,
    repeats: int = 1000,
    games: int = 400,
    alpha: float = 0.05,
    random_state: int | None = None,
) -> Evidence:
    """Tell two neighbouring data sets apart by the mean of many answers to one question.

    In each game a coin chooses a data set, it is published once, and the attacker asks the same question `repeats`
    times. Half of the games teach a threshold, the other half are counted. Whatever asks for no more than one release
    allows is right with probability (1 + δ(0))/2 at most, where δ is the claim's privacy profile.

    Parameters
    ----------
    publish : callable
        ``publish(data)`` releases once and returns ``ask``; ``ask()`` answers the question.
    pair : (data, data)
        Neighbours in the claim's sense.
    claim : Claim
        A differential privacy bound.
    repeats, games : int
        At least 1, at least 2.
    alpha : float
        Chance that a sound service is called falsified.
    random_state : int, optional
        Of the coins.

    Returns
    -------
    Evidence
        The accuracy, with a one-sided exact interval.

    Raises
    ------
    InvalidData
        If repeats or games is too small.
    """
    if repeats < 1 or games < 2:
        raise InvalidData("repeats must be at least 1 and games at least 2")
    rng = np.random.default_rng(random_state)
    taught, counted = ((rng.random(games) < 0.5).astype(np.int64) for _ in range(2))

    def means(coins: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float64]:
        found = []
        for coin in coins:
            ask = publish(pair[coin])
            found.append(np.mean([ask() for _ in range(repeats)]))
        return np.array(found)

    learned = means(taught)
    centres = [float(np.median(learned[taught == side])) if (taught == side).any() else 0.0 for side in (0, 1)]
    side = 1.0 if centres[1] >= centres[0] else -1.0
    guesses = side * (means(counted) - sum(centres) / 2) > 0
    right = int((guesses == (counted == 1)).sum())
    lower = float(clopper_pearson_lower(right, games, alpha))
    ceiling = (1 + claim.delta_at(0.0)) / 2
    return Evidence(
        attack=f"averaging {repeats:,} answers to one question",
        metric="accuracy on a fair coin",
        value=right / games,
        interval=(lower, 1.0),
        level=1 - alpha,
        samples=games,
        claim=claim,
        verdict=verdict_on_accuracy(lower, ceiling, games, alpha),
        notes=(f"the claim allows an accuracy of {ceiling:.3f} at most",),
    )
