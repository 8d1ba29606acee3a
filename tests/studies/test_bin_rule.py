"""The table behind the default number of intervals."""

from __future__ import annotations

import numpy as np

from sfumato.studies.bin_rule import bin_rule_table, power_law


def test_the_shipped_rule_stays_near_the_best():
    # 40 noisy tables a figure on a fixed seed; 200 tables give a mean of 1.25 and a maximum of 1.75
    table = bin_rule_table("smoke", seed=0)
    assert {"lung", "rossi", "gbsg2", "waltons"} <= set(table["cohort"])
    assert np.exp(np.log(table["shipped"]).mean()) < 1.4
    assert table["shipped"].max() < 2.6


def test_power_law_is_that_of_the_design_notes():
    variance = 2 * np.exp(-1) / (1 - np.exp(-1)) ** 2
    assert power_law(228, variance, 0.5) == 15
