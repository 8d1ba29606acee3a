"""What an audit found: counts, exact bound, event, power, and a replay with fresh randomness.

For the privacy engineer and for the reviewer of a claim. Card 31, section F; the posterior beside the
exact bound is the estimate of Zanella-Béguelin et al. (2023) and never carries the verdict.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.attacks.bayesian_audit.events import Event
from sfumato.attacks.bayesian_audit.posterior import EpsilonPosterior
from sfumato.attacks.bayesian_audit.power import (
    Curve,
    Profile,
    can_refute,
    largest_epsilon,
    lower_epsilon,
    profile_of,
    rate_bounds,
)
from sfumato.attacks.bayesian_audit.trials import Mechanism, Trials
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence
from sfumato.evidence import Verdict as EvidenceVerdict
from sfumato.privacy.claim import Claim

Verdict = Literal["violation", "no violation found", "underpowered"]
Order = Literal["forward", "reverse"]

_ROUNDING = 1e-9  # an exact mechanism may sit on its bound; digits beyond this are the computer's
_EVIDENCE: dict[Verdict, EvidenceVerdict] = {
    "violation": "falsified",
    "no violation found": "consistent",
    "underpowered": "inconclusive",
}


@dataclass(frozen=True)
class Finding:
    """An event counted on fresh trials, with its share of the false-alarm rate."""

    event: Event
    pair: int
    stronger: int
    hits: int
    other_hits: int
    trials: int
    alpha: float

    def bounds(self) -> tuple[float, float]:
        """Lower bound of the event's rate under the stronger input, upper bound under the other."""
        low, high = rate_bounds(self.hits, self.other_hits, self.trials, self.alpha)
        return float(low), float(high)

    def margin(self, profile: Profile) -> float:
        """By how much the bounds exceed the profile; above 0 it is refuted."""
        return float(profile.margin(*self.bounds())[0])


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit.

    Attributes
    ----------
    claim : Claim
        What was audited.
    verdict : {"violation", "no violation found", "underpowered"}
        From the exact test alone. "underpowered": even an attack that never errs could not have
        refuted the claim with this many trials (or the trials were not independent).
    eps_lower : float
        Certified lower bound of the mechanism's ε at ``delta``, at level ``1 - alpha``.
    delta : float
        Where ``eps_lower`` is stated.
    counts : AttackCounts
        Trials in and out of the event under the stronger ("1") and the weaker input.
    event : str
        The event found; ``order`` says which input of ``pair`` it speaks for ("forward": the first).
    power : float
        The largest ε this audit could have certified.
    n : int
        Counted trials a side; ``alpha`` is the false-alarm rate of the whole audit.
    tested : int
        Events that were counted and share ``alpha``.
    heuristic : bool
        Always False here: it marks audits whose trials are treated as independent but are not.
    judged : {"claim", "profile"}
        What the verdict is about: the claim's bound, or the whole privacy profile that was given with it.
    """

    claim: Claim
    verdict: Verdict
    eps_lower: float
    delta: float
    counts: AttackCounts
    event: str
    pair: int
    order: Order
    power: float
    n: int
    alpha: float
    tested: int
    seconds: float
    heuristic: bool = False
    judged: Literal["claim", "profile"] = "claim"
    notes: tuple[str, ...] = ()
    _finding: Finding | None = field(default=None, repr=False, compare=False)
    _inputs: tuple[Any, Any] | None = field(default=None, repr=False, compare=False)
    _one_by_one: bool = field(default=False, repr=False, compare=False)
    _curve: Curve | None = field(default=None, repr=False, compare=False)
    _claim_refuted: bool = field(default=False, repr=False, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.verdict}: ε ≥ {self.eps_lower:.4g} at δ = {self.delta:g} "
            f"({1 - self.alpha:.0%} confidence, {self.n} trials a side); "
            f"this audit could have certified at most ε = {self.power:.4g}; event: {self.event}"
        )

    @cached_property
    def posterior(self) -> EpsilonPosterior:
        """Posterior of the ε of the event found: an estimate beside the bound, never a proof."""
        return EpsilonPosterior(self.counts, self.delta)

    def to_evidence(self) -> Evidence:
        """Evidence against the claim; its interval is one-sided, for no attack bounds ε from above."""
        return Evidence(
            attack="black-box audit",
            metric=f"epsilon lower bound at delta = {self.delta:g}",
            value=self.eps_lower,
            interval=(self.eps_lower, math.inf),
            level=1 - self.alpha,
            samples=2 * self.n,
            claim=self.claim,
            verdict=self._verdict_on_claim(),
            kind="confidence",
            notes=(
                f"event: {self.event}",
                f"this audit could have certified at most epsilon = {self.power:.4g}",
                *self.notes,
            ),
        )

    def _verdict_on_claim(self) -> EvidenceVerdict:
        """The claim is a point of the profile, or implied by it: the profile can be refuted while the claim stands."""
        if self.judged == "profile" and self.verdict == "violation" and not self._claim_refuted:
            return "inconclusive"
        return _EVIDENCE[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; the inputs and the trained score are not in it."""
        return {
            "claim": self.claim.to_json(),
            "verdict": self.verdict,
            "eps_lower": self.eps_lower,
            "delta": self.delta,
            "counts": {name: getattr(self.counts, name) for name in ("tp", "fn", "fp", "tn")},
            "event": self.event,
            "pair": self.pair,
            "order": self.order,
            "power": self.power,
            "n": self.n,
            "alpha": self.alpha,
            "tested": self.tested,
            "seconds": self.seconds,
            "heuristic": self.heuristic,
            "judged": self.judged,
            "claim_refuted": self._claim_refuted,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> AuditReport:
        """Rebuild a report from `to_json`; it cannot be replayed."""
        rest = {name: value for name, value in document.items() if name != "claim_refuted"}
        return cls(
            **{
                **rest,
                "_claim_refuted": document.get("claim_refuted", False),
                "claim": Claim.from_json(document["claim"]),
                "counts": AttackCounts(**document["counts"]),
                "notes": tuple(document["notes"]),
            }
        )

    def replay(self, mechanism: Mechanism, random_state: int | None = None) -> AuditReport:
        """Count the same event on the same pair with fresh randomness; it alone uses all of alpha.

        Raises
        ------
        InvalidData
            If the report was read from JSON: the event's score is not in it.
        """
        if self._finding is None or self._inputs is None:
            raise InvalidData("this report holds no event to replay: audit the mechanism again")
        began = time.perf_counter()
        old = self._finding
        trials = Trials(mechanism, np.random.default_rng(random_state), self._one_by_one)
        counted = [int(trials.count(x, [old.event], old.trials)[0]) for x in self._inputs]
        fresh = replace(old, hits=counted[old.stronger], other_hits=counted[1 - old.stronger], alpha=self.alpha)
        return conclude(
            self.claim,
            [fresh],
            self._inputs,
            delta=self.delta,
            alpha=self.alpha,
            seconds=time.perf_counter() - began,
            notes=("replayed event", *self.notes),
            one_by_one=self._one_by_one,
            curve=self._curve,
        )


def conclude(
    claim: Claim,
    findings: list[Finding],
    inputs: tuple[Any, Any] | list[tuple[Any, Any]],
    *,
    delta: float,
    alpha: float,
    seconds: float,
    notes: tuple[str, ...] = (),
    one_by_one: bool = False,
    void: str = "",
    curve: Curve | None = None,
) -> AuditReport:
    """Verdict from counted events on the claim, or on a curve; `void` says why they can carry none."""
    trials = max(each.trials for each in findings)
    profile, own = profile_of(claim, trials, curve), profile_of(claim, trials)
    if curve is not None and notes[:1] != ("replayed event",):
        notes = ("the verdict is about the whole privacy profile given with the claim", *notes)
    best = max(findings, key=lambda each: each.margin(profile))
    if void:
        verdict: Verdict = "underpowered"
    elif best.margin(profile) > _ROUNDING:
        verdict = "violation"
    elif any(can_refute(profile, each.trials, each.alpha) for each in findings):
        verdict = "no violation found"
    else:
        verdict = "underpowered"
    pair = inputs[best.pair] if isinstance(inputs, list) else inputs
    low, high = best.bounds()
    return AuditReport(
        claim=claim,
        verdict=verdict,
        eps_lower=0.0 if void else lower_epsilon(low, high, delta),
        delta=delta,
        counts=AttackCounts(
            tp=best.hits,
            fn=best.trials - best.hits,
            fp=best.other_hits,
            tn=best.trials - best.other_hits,
        ),
        event=str(best.event),
        pair=best.pair,
        order="forward" if best.stronger == 0 else "reverse",
        power=max(largest_epsilon(each.trials, delta, each.alpha) for each in findings),
        n=best.trials,
        alpha=alpha,
        tested=len(findings),
        seconds=seconds,
        judged="claim" if curve is None else "profile",
        notes=(*notes, void) if void else notes,
        _finding=best,
        _inputs=pair,
        _one_by_one=one_by_one,
        _curve=curve,
        _claim_refuted=not void and max(each.margin(own) for each in findings) > _ROUNDING,
    )
