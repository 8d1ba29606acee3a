"""AveragingAttack: the attack that anybody tries first, by asking the same again.

The baseline beside the attacks on sticky noise, which it fails against, and the best one against fresh noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sfumato.attacks.sticky_noise.asking import Asker, Guess, Queryable, count_sql, equal_to, read_known, read_values
from sfumato.errors import AttackNotApplicable, InvalidData


class AveragingAttack:
    """Guesses a secret of two values by counting outright who has all known attributes and the first value.

    Without noise this is the intersection attack. Fresh noise is averaged over repeats; on a differentially private
    engine one question at the whole budget is the best attack there is. Sticky noise repeats itself, and suppression
    answers nothing.

    Parameters
    ----------
    engine : object with ``query(sql)``
    secret : str
    values : sequence of two, default (0, 1)
    repeats : int, default 1
    table : str
    """

    def __init__(
        self,
        engine: Queryable,
        secret: str,
        *,
        values: Sequence[Any] = (0, 1),
        repeats: int = 1,
        table: str = "people",
    ) -> None:
        self.values = read_values(values)
        if len(self.values) != 2 or repeats < 1:
            raise InvalidData("values must hold two values, and repeats be at least 1")
        self.engine, self.secret, self.repeats, self.table = engine, secret, repeats, table

    def attack(self, known: Mapping[str, Any]) -> Guess:
        """Guess the secret of the user whose attributes these are.

        Raises
        ------
        AttackNotApplicable
            If the count is suppressed.
        """
        known = read_known(known, self.secret, 1)
        asker = Asker(self.engine, self.table, None)
        sql = count_sql(self.table, [*equal_to(known, known), (self.secret, "=", self.values[0])])
        counts = [asker.again(sql) for _ in range(self.repeats)]
        answered = [count for count in counts if count is not None]
        if not answered:
            raise AttackNotApplicable("the engine suppresses this count")
        excess = sum(answered) / len(answered) - 0.5
        return Guess(self.values[0] if excess > 0 else self.values[1], abs(excess), asker.n_queries, tuple(known))
