"""Half-widths: the card's table, monotonicity, the choice, and that what is promised holds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from sfumato.errors import InvalidData
from sfumato.statistics.adaptive import choose_mechanism, half_width, plan
from sfumato.statistics.adaptive.transfer import LARGEST_UNIVERSE, planned, weights_alpha

#: n, m, Gaussian noise with ε = ρ + 2 sqrt(ρ ln(1/δ)), splitting without noise: as in our notes, β' = .05.
TABLE = [
    (10**4, 100, 0.313, 0.204),
    (10**5, 10**3, 0.185, 0.230),
    (10**6, 10**3, 0.061, 0.073),
    (10**6, 10**5, 0.197, 0.872),
    (10**7, 10**5, 0.065, 0.276),
]


def by_the_simple_conversion(n, m, beta=0.05):
    """The same theorem, minimised here with the textbook conversion of zCDP."""

    def error(x):
        rho, share, c, d = math.exp(x[0]), 1 / (1 + math.exp(-x[1])), math.exp(x[2]), math.exp(x[3])
        epsilon = rho + 2 * math.sqrt(rho * math.log(1 / (d * beta * share)))
        noise = math.sqrt(m / (2 * rho)) / n * stats.norm.isf(c * beta * (1 - share) / (2 * m))
        return noise + math.expm1(min(epsilon, 30)) + c + 2 * d

    starts = ([-7, 0, -5, -5], [-9, 0, -7, -7], [-5, 0, -4, -4])
    return min(optimize.minimize(error, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts)


@pytest.mark.parametrize(("n", "m", "gaussian", "split"), TABLE)
def test_the_table_of_the_notes(n, m, gaussian, split):
    simple = by_the_simple_conversion(n, m)
    assert simple == pytest.approx(gaussian, rel=0.02)
    ours = half_width(n, m)
    assert 0.7 * simple < ours < 0.85 * simple  # the Rényi conversion is that much tighter
    assert half_width(n, m, mechanism="split", rho=math.inf) == pytest.approx(split, rel=0.005)
    assert half_width(n, m, mechanism="split", rho=math.inf) == pytest.approx(
        math.sqrt(math.log(2 * m / 0.05) / (2 * (n // m)))
    )


def test_the_choice():
    assert choose_mechanism(10**4, 100) == "split"  # at small n splitting wins, and the toolkit says so
    assert "gaussian 0.2" in str(plan(10**4, 100))
    assert choose_mechanism(10**6, 10**5) == "gaussian"
    assert choose_mechanism(2000, 1000, 256) == "histogram"
    assert choose_mechanism(20_000, 10**5, 256) == "histogram"
    assert choose_mechanism(10**6, 10**5, 10**7) == "gaussian"
    assert choose_mechanism(10**7, 10**9, 10**7) == "pmw"


def test_the_half_width_grows_as_the_fourth_root_of_the_questions():
    widths = np.array([half_width(10**7, m) for m in (10**3, 10**4, 10**5, 10**6)])
    assert np.diff(np.log10(widths)) == pytest.approx(0.25, abs=0.03)


@settings(max_examples=5, deadline=None)
@given(st.integers(10**4, 10**7), st.integers(1, 10**4), st.floats(0.01, 0.3))
def test_more_rows_fewer_questions_and_less_certainty_are_narrower(n, m, beta):
    slack = 1e-4
    for mechanism in ("gaussian", "split"):
        here = half_width(n, m, beta=beta, mechanism=mechanism)
        assert half_width(2 * n, m, beta=beta, mechanism=mechanism) <= here + slack
        assert half_width(n, 2 * m, beta=beta, mechanism=mechanism) >= here - slack
        assert half_width(n, m, beta=beta / 2, mechanism=mechanism) >= here - slack


def test_where_nothing_is_promised_all_of_rho_goes_into_less_noise():
    found = planned(100, 1000, 0.05, "gaussian", 0.5, None)
    assert (found.half_width, found.rho) == (1.0, 0.5)
    assert weights_alpha(100, 1000, 256, 0.5, 0.05) == math.inf


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1},
        {"n": 2.5},
        {"queries": 0},
        {"beta": 0.0},
        {"rho": 0.0},
        {"rho": math.nan},
        {"mechanism": "guess"},
        {"mechanism": "pmw"},
        {"mechanism": "histogram", "universe": 0},
        {"mechanism": "histogram", "universe": LARGEST_UNIVERSE + 1},
    ],
)
def test_bad_input(change):
    arguments = {"n": 100, "queries": 10, **change}
    with pytest.raises(InvalidData):
        half_width(arguments.pop("n"), arguments.pop("queries"), **arguments)
