"""FederatedHeavyHitters: the k most common items of several parties' users, who send one randomised report each.

For analytics over companies, hospitals or app stores whose users trust nobody. Methods and sources: see `plan`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.federation.heavy_hitters.encoders import Encoder, Integers
from sfumato.federation.heavy_hitters.plan import Plan, make_plan
from sfumato.federation.heavy_hitters.protocol import HeavyHitterProtocol
from sfumato.federation.in_process import InProcess, Runtime


class FederatedHeavyHitters(BaseEstimator):  # type: ignore[misc]
    """The k most common items over all parties' users, under ε-local differential privacy of each user.

    Parameters
    ----------
    k : int
        How many items to find.
    epsilon : float
        Of each user's one report.
    bits : int
        Length of an item; that of the encoder, if there is one.
    levels : int or "auto"
        Levels of the tree; each user speaks at one. Fewer are more accurate and cost more candidates a level. "auto"
        takes the fewest that keep every level within 2^16 candidates.
    shared_levels : int, optional
        For "tap" and "taps": first levels at which all parties search alike; a third of the levels by default.
    method : {"tap", "taps", "aligned", "fedpem", "pem", "gtf", "triehh"}
        "tap": shared first levels, then each party for itself, and sums at the end. "taps": the same, and later parties
        drop what earlier ones found rare, once their own users confirm it; parties speak one after the other, so a run
        needs all of them to the end, and terms without `min_parties`. "aligned": all levels shared, which is the
        strongest where noise is not overwhelming. "fedpem": each party for itself, and sums of its k largest. "pem":
        all levels shared and k prefixes live. "gtf": the rules of FedFT. "triehh": not local; votes in the clear of
        sampled users under a central (ε, δ) claim, which tell which items there are and no counts.
    oracle : {"auto", "grr", "olh", "oue"}
    extension : {"adaptive", "fixed"}
        Whether more than k prefixes live where noise is large ("tap", "taps", "aligned").
    z : float
        Adaptive extension: standard errors below the k-th largest count.
    t_max : int, optional
        Adaptive extension: most prefixes that live; 4k by default.
    sync : {"each", "end"}
        Whether parties' estimates meet at each shared level, or once at the last of them.
    upload : {"all", "topk"}
        What each party contributes to the final sums.
    encoder : FixedText, HashedItems or another, optional
        Without one, items are integers below 2^bits.
    delta : float
        For "triehh".
    simulate : {"reports", "aggregate"}
        "aggregate" draws the sums of reports by their law, without reports, and voids the claim: for studies.
    random_state : int, optional
        Decides who speaks when, public hash functions, and simulated sums; never the noise of reports.

    Attributes
    ----------
    heavy_hitters_ : list
        Items, the most common first; None for a code that the encoder cannot read.
    counts_, stderr_ : ndarray of float64
        Estimated users of all parties. Where parties searched for themselves, one that had lost an item adds nothing to
        its count, so the count is too low. NaN for "triehh".
    detectable_count_ : float
        Items with fewer users cannot be found reliably: noise alone reaches as far. By public parameters.
    significant_ : ndarray of bool
        Which counts reach it. Where none does, there is a warning: what was found may be noise.
    claim_ : Claim
    levels_ : int
    trace_ : list of dict
        See `Found`.
    outcome_ : Outcome
        The run: its messages' bytes, who dropped out.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> parties = [rng.zipf(2.0, 20_000) % 256 for _ in range(3)]
    >>> found = FederatedHeavyHitters(3, 4.0, bits=8, levels=2, method="aligned").fit(parties)
    >>> found.heavy_hitters_
    [1, 2, 3]
    """

    def __init__(
        self,
        k: int = 10,
        epsilon: float = 1.0,
        *,
        bits: int = 48,
        levels: int | str = 8,
        shared_levels: int | None = None,
        method: str = "tap",
        oracle: str = "auto",
        extension: str = "adaptive",
        z: float = 1.0,
        t_max: int | None = None,
        sync: str = "each",
        upload: str = "all",
        encoder: Encoder | None = None,
        delta: float = 1e-6,
        simulate: str = "reports",
        random_state: int | None = None,
    ) -> None:
        self.k = k
        self.epsilon = epsilon
        self.bits = bits
        self.levels = levels
        self.shared_levels = shared_levels
        self.method = method
        self.oracle = oracle
        self.extension = extension
        self.z = z
        self.t_max = t_max
        self.sync = sync
        self.upload = upload
        self.encoder = encoder
        self.delta = delta
        self.simulate = simulate
        self.random_state = random_state

    def protocol(self) -> HeavyHitterProtocol:
        """Return the protocol of these parameters, for a runtime or a Flower app.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter is out of range.
        """
        chosen = self.get_params(deep=False)
        encoder, random_state = chosen.pop("encoder"), chosen.pop("random_state")
        if encoder is not None:
            chosen["bits"] = encoder.bits
        plan = make_plan(**chosen)
        return HeavyHitterProtocol(plan, encoder or Integers(plan.bits), random_state=random_state)

    def fit(self, parties: Sequence[Any] | None = None, *, runtime: Runtime | None = None) -> Self:
        """Find the heavy hitters.

        Parameters
        ----------
        parties : sequence of sequences, optional
            Each party's items, one a user: integers, or what the encoder takes. None if the runtime's silos have them.
        runtime : Runtime, optional
            `InProcess()` by default. Ledgers of the silos are its business.

        Raises
        ------
        InvalidData
            If a party has fewer users than levels, or parties hold items of different kinds.
        TooFewParties
            If a party's reply is lost or refused and the runtime's terms do not allow for it.
        """
        protocol = self.protocol()
        if parties is not None:
            _check_parties(parties, protocol.plan)
        outcome = (InProcess() if runtime is None else runtime).run(protocol, parties)
        found = outcome.result
        self.heavy_hitters_ = protocol.encoder.decode(found.codes)
        self.counts_ = found.counts
        self.stderr_ = found.stderr
        self.trace_ = found.trace
        self.outcome_ = outcome
        self.claim_ = protocol.plan.claim
        self.levels_ = protocol.plan.levels
        if self.method == "triehh":
            self.detectable_count_ = protocol.plan.threshold / protocol.plan.rate
            self.significant_ = np.ones(len(found.codes), np.bool_)
            return self
        self.detectable_count_ = protocol.plan.detectable(found.users)
        self.significant_ = found.counts >= self.detectable_count_
        if not self.significant_.any():
            warnings.warn("no count reaches detectable_count_: what was found may be noise", RuntimeWarning, 2)
        return self

    def score(self, true_counts: Mapping[Hashable, float]) -> dict[str, float]:
        """Compare with true counts: precision, recall and F1 of the true k largest, and NCR.

        Parameters
        ----------
        true_counts : mapping of item to count

        Returns
        -------
        dict
            "precision", "recall", "f1", "ncr": the last weighs a hit by k + 1 - its true rank, over the sum of weights.
        """
        return score(self.heavy_hitters_, true_counts, self.k)


def score(found: Sequence[Any], true_counts: Mapping[Hashable, float], k: int) -> dict[str, float]:
    """Compare found items with the k truly largest counts, as `FederatedHeavyHitters.score` does."""
    order = sorted(true_counts, key=lambda item: (-true_counts[item], str(item)))[:k]
    ranks = {item: rank for rank, item in enumerate(order)}
    hits = [ranks[item] for item in set(found) if item in ranks]
    precision = len(hits) / len(found) if len(found) else 0.0
    recall = len(hits) / len(order) if order else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    weights = len(order) * (len(order) + 1) / 2
    ncr = math.fsum(len(order) - rank for rank in hits) / weights if order else 0.0
    return {"f1": f1, "ncr": ncr, "precision": precision, "recall": recall}


def _check_parties(parties: Sequence[Any], plan: Plan) -> None:
    kinds = set()
    for number, items in enumerate(parties):
        if len(items) < plan.least_users:
            raise InvalidData(f"party {number} has {len(items)} users, fewer than the {plan.least_users} it must have")
        kinds.add(np.asarray(items[:1]).dtype.kind)
    if not len(kinds):
        raise InvalidData("parties must be a non-empty sequence: the items of each party")
    if len({"i" if kind == "u" else kind for kind in kinds}) > 1:
        raise InvalidData("parties must hold items of one kind: integers, or text for an encoder")
