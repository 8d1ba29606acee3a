"""DifferentialAttack: a secret from pairs of queries that differ by one condition.

For red teams on engines with sticky noise. Gadotti et al. (USENIX Security 2019), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from sklearn.utils import check_random_state

from sfumato.attacks.sticky_noise.asking import Asker, Guess, Queryable, decide, equal_to, read_known, read_values
from sfumato.attacks.sticky_noise.likelihood import Rounding, differential_log_odds
from sfumato.errors import AttackNotApplicable, InvalidData


class DifferentialAttack:
    """Guesses a user's secret from k known attributes that single the user out.

    For each attribute j, the users who are like the victim in all others and have the secret's value v are counted
    twice: once as they are, once with the further condition that they differ from the victim in j. If the victim's
    secret is not v, both counts are of the same users, and all noise they have in common cancels; else the second lacks
    the victim, and the noise that depends on the set of users is drawn anew. The differences' likelihoods under both
    decide.

    A secret of two values is tested on the first; one of more on each against the rest, and the likeliest wins.

    Parameters
    ----------
    engine : object with ``query(sql)``
        Nothing else of it is touched.
    secret : str
        Column to infer.
    values : sequence, default (0, 1)
        Its public values.
    prior : sequence of float, optional
        Probability of each; equal by default.
    rounding : {"exact", "ignore"}
        Whether the likelihoods allow for the answers' rounding, or, as the paper's, do not.
    noise_sd, round_to : float, int
        The engine's parameters, public knowledge.
    max_tries : int, default 20
        Subsets of the attributes to try, should the engine suppress all counts for the full set.
    table : str
        What the engine calls its table.
    random_state : int, RandomState or None
        Chooses the subsets.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    def __init__(
        self,
        engine: Queryable,
        secret: str,
        *,
        values: Sequence[Any] = (0, 1),
        prior: Sequence[float] | None = None,
        rounding: Rounding = "exact",
        noise_sd: float = 1.0,
        round_to: int = 1,
        max_tries: int = 20,
        table: str = "people",
        random_state: Any = None,
    ) -> None:
        self.values = read_values(values)
        if rounding not in get_args(Rounding):
            raise InvalidData(f"rounding must be one of {', '.join(get_args(Rounding))}")
        given = [1 / len(self.values)] * len(self.values) if prior is None else list(prior)
        if len(given) != len(self.values) or not all(0 < p < 1 for p in given) or abs(sum(given) - 1) > 1e-9:
            raise InvalidData("prior must hold a probability above 0 for each value, together 1")
        self.engine, self.secret, self.table = engine, secret, table
        self.prior = dict(zip(self.values, given, strict=True))
        self.max_tries, self.random_state = max_tries, random_state
        if not noise_sd > 0 or round_to < 1:
            raise InvalidData("noise_sd must be above 0 and round_to at least 1")
        self.noise_sd, self.round_to, self.rounding = noise_sd, round_to, rounding

    def attack(self, known: Mapping[str, Any]) -> Guess:
        """Guess the secret of the user whose attributes these are.

        Raises
        ------
        AttackNotApplicable
            If every pair of counts is suppressed, for all subsets that were tried, or no attribute is known.
        """
        known = read_known(known, self.secret, 1)
        asker = Asker(self.engine, self.table, None)
        for names in self._subsets(tuple(known)):
            if len(names) < len(known) and asker.count(equal_to(known, names)) is not None:
                continue  # others share these attributes
            odds = self._odds(asker, known, names)
            if odds is not None:
                value, log_odds = decide(odds, self.values)
                return Guess(value, log_odds, asker.n_queries, names)
        raise AttackNotApplicable("the engine suppresses these counts")

    def _odds(self, asker: Asker, known: Mapping[str, Any], names: Sequence[str]) -> dict[Any, float] | None:
        """Log odds of each tested value, or None if one of them leaves no pair of counts."""
        odds = {}
        for value in self.values[:1] if len(self.values) == 2 else self.values:
            differences = list(self._differences(asker, known, names, value))
            if not differences:
                return None
            prior = self.prior[value]
            evidence = differential_log_odds(
                differences, len(names), self.noise_sd, round_to=self.round_to, rounding=self.rounding
            )
            odds[value] = evidence + math.log(prior / (1 - prior))
        return odds

    def _differences(self, asker: Asker, known: Mapping[str, Any], names: Sequence[str], value: Any) -> Iterator[int]:
        for name in names:
            common = [*equal_to(known, (n for n in names if n != name)), (self.secret, "=", value)]
            first = asker.count(common)
            second = None if first is None else asker.count([*common, (name, "<>", known[name])])
            if first is not None and second is not None:
                yield first - second

    def _subsets(self, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """All attributes, then random subsets of them, each once."""
        yield names
        rng = check_random_state(self.random_state)
        tried = {names}
        for _ in range(self.max_tries if len(names) > 2 else 0):
            size = int(rng.randint(2, len(names)))
            chosen = tuple(np.array(names, dtype=object)[np.sort(rng.permutation(len(names))[:size])])
            if chosen not in tried:
                tried.add(chosen)
                yield chosen
