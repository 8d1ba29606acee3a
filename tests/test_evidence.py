"""Evidence: it prints, travels as JSON, and lets no estimate carry a verdict."""

import json
import math

import pytest

from sfumato import Claim, Evidence, InvalidData, PureDP

FIELDS = {
    "attack": "black-box audit",
    "metric": "ε lower bound",
    "value": 0.97,
    "interval": (0.97, math.inf),
    "level": 0.95,
    "samples": 200_000,
    "claim": Claim(PureDP(1.0)),
    "verdict": "consistent",
}


def test_it_reads_and_round_trips():
    evidence = Evidence(**FIELDS, notes=("it could have certified at most 10.2",))
    assert "consistent" in str(evidence)
    assert "∞" in str(evidence)
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence


@pytest.mark.parametrize("verdict", ["falsified", "consistent"])
def test_a_credible_interval_carries_no_verdict(verdict):
    with pytest.raises(InvalidData, match="estimate"):
        Evidence(**{**FIELDS, "verdict": verdict}, kind="credible")
    Evidence(**{**FIELDS, "verdict": "inconclusive"}, kind="credible")


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "private"},
        {"kind": "sure"},
        {"interval": (2, 1)},
        {"interval": (math.nan, 1)},
        {"level": 1},
        {"samples": -1},
    ],
)
def test_fields_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidData, match=next(iter(wrong))):
        Evidence(**{**FIELDS, **wrong})
