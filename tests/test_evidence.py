"""Evidence: it prints, travels as JSON, and lets no estimate carry a verdict."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from sfumato import Claim, Evidence, InvalidData, PureDP
from sfumato.evidence import clopper_pearson_lower, clopper_pearson_upper

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


@pytest.mark.parametrize("rate", [0.001, 0.3, 0.97])
def test_the_exact_bounds_of_a_rate_err_as_often_as_they_say_and_no_more(rate):
    """Computed, not simulated: over all outcomes of 60 trials."""
    hits, alpha = np.arange(61), 0.05
    probability = stats.binom.pmf(hits, 60, rate)
    for errs in (clopper_pearson_lower(hits, 60, alpha) > rate, clopper_pearson_upper(hits, 60, alpha) < rate):
        assert probability[errs].sum() <= alpha
    assert clopper_pearson_lower(0, 60, alpha) == 0
    assert clopper_pearson_upper(60, 60, alpha) == 1
    assert clopper_pearson_lower(60, 60, alpha) == pytest.approx(alpha ** (1 / 60))
