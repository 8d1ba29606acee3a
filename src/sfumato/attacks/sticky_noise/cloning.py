"""CloningAttack: a secret from pairs of queries, each pair with a dummy condition of its own.

For red teams on engines with sticky noise. Gadotti et al. (USENIX Security 2019), section 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from sklearn.utils import check_random_state

from sfumato.attacks.sticky_noise.asking import (
    Asker,
    Guess,
    Queryable,
    Term,
    decide,
    equal_to,
    read_known,
    read_values,
)
from sfumato.attacks.sticky_noise.likelihood import cloning_log_odds, variance_log_odds
from sfumato.attacks.sticky_noise.splits import Split, Splits
from sfumato.errors import AttackNotApplicable, InvalidData

Statistic: TypeAlias = Literal["variance", "lr"]
Dummies: TypeAlias = Literal["checked", "implied"]
Search: TypeAlias = Literal["random", "chain"]
DecideOn: TypeAlias = Literal["either", "equal"]

_SURE = 4.0  # log odds beyond which the likelihood ratio asks no further


class CloningAttack:
    """Guesses a user's secret without knowing which attributes single the user out.

    The known attributes are split into a set A′ and one more, u, so that A′ is common and A′ with u is the victim
    alone. The users who meet A′ and have the secret's value v are counted with and without "u differs from the
    victim's", once for each of several *dummy conditions*, which exclude nobody but bring noise of their own. If the
    victim's secret is not v, both counts of a pair are of the same users, and their difference is the same for all
    dummies but for rounding. Else the dummies' dynamic noise is drawn anew in each. The spread of the differences
    decides.

    **Conditions, tested by queries alone.** No count of a pair is suppressed. The count for A′ and u is suppressed: few
    have all these attributes. A dummy `column <> x` excludes few: the count of who has A′ and `column = x` is
    suppressed, with u and without. A split that fails is dropped, and the next one tried.

    Few need not be one. Where two or three share A′ and u, sets that are not equal may be another's doing; but sets
    that are equal still prove that the victim's secret is not v. `decide_on="equal"` rests on that alone: it asks
    about one value of the secret after the other, until all but one are ruled out. It is ours, as are
    `search="chain"` and `dummies="implied"`.

    Parameters
    ----------
    engine : object with ``query(sql)``
        Nothing else of it is touched.
    secret : str
        Column to infer.
    domain : mapping of str to sequence
        Public values of the attributes, of which dummies are made.
    values : sequence, default (0, 1)
        The secret's public values.
    n_dummies : int, default 10
        At least 2.
    max_queries : int, optional
        For one user, checks and dead ends included; never passed.
    max_tries : int, default 100
        Splits to try.
    statistic : {"variance", "lr"}
        The paper's sample variance, or the exact likelihood ratio of the rounded differences, which asks no further
        once the odds are beyond e^4.
    search : {"random", "chain"}
        Splits at random, none twice; or along a random order of the attributes, those of fewer values first, the
        place by bisection where the count becomes suppressed.
    dummies : {"checked", "implied"}
        On attributes outside the split, checked by queries; or `column <> x` on attributes of A′, which `column = a`
        implies, so that no check is needed. Whether the vendor's engine saw through these is not known to us.
    decide_on : {"either", "equal"}
        The paper's: whether the sets are equal or not, the victim's secret is read from it; or only sets that are equal
        count, and a split that leaves more than one value is dropped.
    checks : bool, default True
        Without them every split and dummy is taken as it comes: for engines that suppress nothing.
    noise_sd, round_to : float, int
        The engine's parameters, public knowledge.
    table : str
        What the engine calls its table.
    random_state : int, RandomState or None
        Chooses splits and dummies.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    def __init__(
        self,
        engine: Queryable,
        secret: str,
        domain: Mapping[str, Sequence[Any]],
        *,
        values: Sequence[Any] = (0, 1),
        n_dummies: int = 10,
        max_queries: int | None = None,
        max_tries: int = 100,
        statistic: Statistic = "variance",
        search: Search = "random",
        dummies: Dummies = "checked",
        decide_on: DecideOn = "either",
        checks: bool = True,
        noise_sd: float = 1.0,
        round_to: int = 1,
        table: str = "people",
        random_state: Any = None,
    ) -> None:
        self.values = read_values(values)
        for name, value, kind in (
            ("statistic", statistic, Statistic),
            ("search", search, Search),
            ("dummies", dummies, Dummies),
            ("decide_on", decide_on, DecideOn),
        ):
            if value not in get_args(kind):
                raise InvalidData(f"{name} must be one of {', '.join(get_args(kind))}")
        if n_dummies < 2 or max_tries < 1 or (max_queries is not None and max_queries < 1):
            raise InvalidData("n_dummies must be at least 2; max_tries and max_queries at least 1")
        if not noise_sd > 0 or round_to < 1:
            raise InvalidData("noise_sd must be above 0 and round_to at least 1")
        self.engine, self.secret, self.domain, self.table = engine, secret, domain, table
        self.n_dummies, self.max_queries, self.max_tries = n_dummies, max_queries, max_tries
        self.statistic, self.search, self.dummies, self.decide_on = statistic, search, dummies, decide_on
        self.noise_sd, self.round_to, self.checks, self.random_state = noise_sd, round_to, checks, random_state

    def attack(self, known: Mapping[str, Any]) -> Guess:
        """Guess the secret of the user whose attributes these are.

        Raises
        ------
        AttackNotApplicable
            If no split that was tried meets the conditions, the queries run out, or fewer than two attributes are
            known.
        """
        known = read_known(known, self.secret, 2)
        rng = check_random_state(self.random_state)
        asker = Asker(self.engine, self.table, self.max_queries)
        splits = Splits(asker, known, self.domain, rng)
        sides = [(self.secret, "=", value) for value in self.values]
        proposed = splits.chain(sides) if self.search == "chain" else splits.random()
        for split in itertools.islice(proposed, self.max_tries):
            odds = self._odds(asker, known, split, splits, rng)
            if odds is not None:
                value, log_odds = decide(odds, self.values)
                return Guess(value, log_odds, asker.n_queries, (*split.common, split.last))
        raise AttackNotApplicable("no split of the attributes meets the attack's conditions")

    def _odds(
        self, asker: Asker, known: Mapping[str, Any], split: Split, splits: Splits, rng: np.random.RandomState
    ) -> dict[Any, float] | None:
        """Log odds that the victim has each tested value, or None if the split does not meet the conditions."""
        if self.checks and asker.count(equal_to(known, (*split.common, split.last))) is not None:
            splits.crowded(split)
            return None
        common = equal_to(known, split.common)
        apart = (split.last, "<>", known[split.last])
        dummies: Iterator[Term] = itertools.islice(self._dummies(asker, known, split, apart, rng), self.n_dummies)
        odds: dict[Any, float] = {}
        answered = 0
        for value in self.values:
            side = [*common, (self.secret, "=", value)]
            if asker.count(side) is None:
                continue
            answered += 1
            dummies, own = itertools.tee(dummies)  # both sides use the same, found as they are needed
            found = self._test(asker, side, apart, own, len(split.common) + 1)
            if found is not None:
                odds[value] = found
            ruling = [value for value, each in odds.items() if self.decide_on == "either" or each < 0]
            if len(ruling) == len(self.values) - 1:
                return odds
        if answered < len(self.values) - 1:
            splits.deserted(split)
        return None

    def _test(self, asker: Asker, common: Sequence[Term], apart: Term, dummies: Iterator[Term], k: int) -> float | None:
        """Log odds that the victim is among those counted; None if a count is suppressed or the dummies are too few."""
        differences: list[int] = []
        for dummy in dummies:
            first = asker.count([*common, dummy])
            second = None if first is None else asker.count([*common, dummy, apart])
            if first is None or second is None:
                return None
            differences.append(first - second)
            if self.statistic == "lr":
                odds = cloning_log_odds(differences, k, self.noise_sd, self.round_to)
                if abs(odds) > _SURE or len(differences) == self.n_dummies:
                    return odds
        if len(differences) < self.n_dummies:
            return None
        return variance_log_odds(differences, self.noise_sd, self.round_to)

    def _dummies(
        self, asker: Asker, known: Mapping[str, Any], split: Split, apart: Term, rng: np.random.RandomState
    ) -> Iterator[Term]:
        """Conditions that exclude nobody, as far as queries can tell."""
        inside = set(split.common)
        columns = inside if self.dummies == "implied" else set(self.domain) - inside - {split.last, self.secret}
        candidates = [
            (column, value)
            for column in sorted(columns)
            for value in self.domain.get(column, ())
            if value != known.get(column)
        ]
        common = equal_to(known, split.common)
        for i in rng.permutation(len(candidates)):
            column, value = candidates[i]
            excluded = [*common, (column, "=", value)]
            if (
                self.dummies == "implied"
                or not self.checks
                or (asker.count(excluded) is None and asker.count([*excluded, apart]) is None)
            ):
                yield column, "<>", value
