"""The transcript attack: tell two data sets apart by what everybody can see of a protocol, without reading a number.

For whoever must show that times, counts and sizes of messages say nothing about data. The schedule it was made for:
Dubey and Pentland 2020, as criticised by Zhou and Chowdhury (ICLR 2024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from sfumato.attacks.coins import verdict_on_accuracy
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, clopper_pearson_lower
from sfumato.privacy.claim import Claim


def transcript_attack(
    transcript: Callable[[Any], Hashable],
    pair: tuple[Any, Any],
    claim: Claim,
    *,
    games: int = 400,
    alpha: float = 0.05,
    random_state: int | None = None,
) -> Evidence:
    """Guess which of two neighbouring data sets was used, from the transcripts that were seen with each before.

    In each game a coin chooses the data set. Half of the games teach how often each transcript comes with each data
    set, the other half are counted; a transcript that was never seen, or as often with both, is guessed by a coin.
    Whatever keeps its claim is guessed right with probability (1 + δ(0))/2 at most, where δ is the claim's privacy
    profile.

    Parameters
    ----------
    transcript : callable
        ``transcript(data)`` runs the protocol once and returns what an outsider sees: a tuple of times, say.
    pair : (data, data)
        Neighbours in the claim's sense.
    claim : Claim
        A differential privacy bound: what is promised, or would be.
    games : int
        Counted ones; at least 2.
    alpha : float
        Chance that a sound protocol is called falsified.
    random_state : int, optional
        Of the coins.

    Returns
    -------
    Evidence
        The advantage 2 · accuracy - 1, with a one-sided exact interval.

    Raises
    ------
    InvalidData
        If games is too small.
    """
    if games < 2:
        raise InvalidData(f"games must be at least 2, got {games}")
    rng = np.random.default_rng(random_state)
    seen: tuple[Counter[Hashable], Counter[Hashable]] = (Counter(), Counter())
    for coin in rng.integers(0, 2, games).tolist():
        seen[coin][transcript(pair[coin])] += 1
    right = 0
    for coin in rng.integers(0, 2, games).tolist():
        each = transcript(pair[coin])
        lead = seen[1][each] - seen[0][each]
        guess = int(lead > 0) if lead else int(rng.integers(2))
        right += guess == coin
    lower = float(clopper_pearson_lower(right, games, alpha))  # of the accuracy
    ceiling = claim.delta_at(0.0)
    return Evidence(
        attack="telling two data sets apart by the transcript",
        metric="advantage of the guess",
        value=2 * right / games - 1,
        interval=(max(2 * lower - 1, -1.0), 1.0),
        level=1 - alpha,
        samples=games,
        claim=claim,
        verdict=verdict_on_accuracy(lower, (1 + ceiling) / 2, games, alpha),
        notes=(f"the claim allows an advantage of {ceiling:.3f} at most",),
    )
