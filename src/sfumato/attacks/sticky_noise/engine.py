"""StickyNoiseEngine: a target that answers counting queries as Diffix did in 2018, without end and without a claim.

For red teams and for owners about to trust such noise. Gadotti, Houssiau, Rocher, Livshits and de Montjoye, "When the
Signal is in the Noise: Exploiting Diffix's Sticky Noise" (USENIX Security 2019, arXiv 1804.06752), section 2.
"""

from __future__ import annotations

import hashlib
import math
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim
from sfumato.sql import Answer, Condition, CountQuery, PersonTable

_FEWEST_BYTES = 16
_REMEMBERED = 2**16


class StickyNoiseEngine:
    """Answers with noise that is the same whenever the same is asked. **A target, never a protection.**

    To a count of users each condition adds two normal numbers: a *static* one, decided by the condition's text, and a
    *dynamic* one, decided by the text and by the set of users selected. So a repeated query gets the same answer and
    averaging gains nothing; h conditions give noise of variance 2h. Counts of 0 and 1 are suppressed, larger ones if
    they lie below a noisy threshold, decided by the set of users. The number of queries is not limited.

    There is no ε for this: the noise has no fresh randomness, and its difference over two queries tells whether they
    select the same users, which is what the attacks read. It is the generation that the vendor ran in 2018; what
    holds here says nothing of later ones, which changed the noise and added checks.

    Parameters
    ----------
    data : PersonTable, or a frame or DuckDB relation
        One row a user. A PersonTable can serve several engines.
    key : str, default "uid"
        For a frame: the column that identifies users.
    salt : bytes
        Secret of the engine, 16 to 64 bytes.
    noise_sd : float, default 1
        Standard deviation of each of the two layers. 0 answers exactly.
    threshold_mean, threshold_sd : float
        Of the suppression threshold: 4 and ½. Whether the published "½" is the deviation or the variance is not
        certain. A mean of None suppresses nothing.
    round_to : int, default 1
        Answers are rounded to multiples of it: a defence, 1 being the paper's.

    Attributes
    ----------
    n_queries : int
        Answered so far.

    Raises
    ------
    InvalidData
        If a parameter is out of range, or as `PersonTable`.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"uid": range(40), "town": [1, 2] * 20})
    >>> engine = StickyNoiseEngine(people, salt=b"a secret of the engine")
    >>> query = "SELECT count(*) FROM people WHERE town = 1"
    >>> engine.query(query) == engine.query(query)
    True
    """

    def __init__(
        self,
        data: Any,
        *,
        key: str = "uid",
        salt: bytes,
        noise_sd: float = 1.0,
        threshold_mean: float | None = 4.0,
        threshold_sd: float = 0.5,
        round_to: int = 1,
    ) -> None:
        if not isinstance(salt, bytes) or not _FEWEST_BYTES <= len(salt) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise InvalidData(f"salt must be {_FEWEST_BYTES} to {hashlib.blake2b.MAX_KEY_SIZE} bytes")
        numbers = (noise_sd, threshold_sd, 0.0 if threshold_mean is None else threshold_mean)
        if not all(math.isfinite(x) for x in numbers) or noise_sd < 0 or threshold_sd < 0:
            raise InvalidData("noise_sd and threshold_sd must be finite and at least 0, threshold_mean finite or None")
        if isinstance(round_to, bool) or not isinstance(round_to, (int, np.integer)) or round_to < 1:
            raise InvalidData("round_to must be a whole number, at least 1")
        self._table = data if isinstance(data, PersonTable) else PersonTable(data, key=key)
        self._salt = salt
        self._noise_sd, self._round_to = float(noise_sd), int(round_to)
        self._threshold = None if threshold_mean is None else (float(threshold_mean), float(threshold_sd))
        self._users = np.array([self._hash(b"user", name.encode()) for name in self._table.keys], dtype=np.uint64)
        # The second keeps the dynamic layer of a query that selects nobody apart from the static one.
        self._threshold_seed, self._dynamic_seed = self._hash(b"threshold", b""), self._hash(b"dynamic", b"")
        self._seed_of = lru_cache(_REMEMBERED)(self._static_seed)
        self._lock = threading.Lock()
        self.n_queries = 0

    @property
    def claim(self) -> Claim:
        """None: what was claimed for this is what the attacks refute."""
        why = "sticky noise is a fixed function of the data and the query, and queries are answered without end"
        return Claim(Heuristic(why), unit="user", neighbours="replace-one")

    def query(self, sql: str | CountQuery) -> Answer:
        """Answer one counting query.

        Parameters
        ----------
        sql : str or CountQuery
            As `sfumato.sql.Grammar` reads it; a CountQuery skips the parser.

        Returns
        -------
        Answer
            Its count is None where it is suppressed.

        Raises
        ------
        QueryRejected
            If it is not a query of the grammar.
        """
        query = self._table.parse(sql)
        who = np.flatnonzero(self._table.who(query))
        users = int(np.bitwise_xor.reduce(self._users[who]))
        with self._lock:
            self.n_queries += 1
        if self._suppresses(len(who), users):
            return Answer(None, len(query.conditions))
        static, dynamic = self._layers(query, users)
        noisy = len(who) + self._noise_sd * float(static.sum() + dynamic.sum())
        return Answer(self._round_to * round(noisy / self._round_to), len(query.conditions))

    def _suppresses(self, count: int, users: int) -> bool:
        if self._threshold is None:
            return False
        mean, deviation = self._threshold
        return count <= 1 or count < mean + deviation * float(self._normals([self._threshold_seed ^ users])[0])

    def _layers(self, query: CountQuery, users: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Standard normal numbers, static and dynamic, one a condition in the order of the query."""
        seeds = [self._seed_of(each) for each in query.conditions]
        normals = self._normals(seeds + [seed ^ users ^ self._dynamic_seed for seed in seeds])
        return normals[: len(seeds)], normals[len(seeds) :]

    def _static_seed(self, condition: Condition) -> int:
        return self._hash(b"condition", condition.text.encode())

    def _normals(self, seeds: list[int]) -> np.ndarray[Any, Any]:
        """One normal number a seed, by inversion of its keyed hash: related seeds give unrelated numbers."""
        bits = np.array([self._hash(b"normal", seed.to_bytes(8, "little")) for seed in seeds], dtype=np.uint64)
        normals: np.ndarray[Any, Any] = ndtri(((bits >> np.uint64(11)) + 0.5) * 2.0**-53)
        return normals

    def _hash(self, purpose: bytes, content: bytes) -> int:
        digest = hashlib.blake2b(content, digest_size=8, key=self._salt, person=purpose).digest()
        return int.from_bytes(digest, "little")
