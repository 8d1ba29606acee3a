"""Prefix sums by a tree, and the noise of its mechanisms."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import BudgetExceeded, Ledger
from sfumato.errors import ClaimViolated, HorizonExceeded, InvalidClaim, InvalidData
from sfumato.federation.bandits.design import Design
from sfumato.federation.bandits.mechanisms import CentralJDP, NoPrivacy, SecureSumDP, SiloLDP
from sfumato.federation.bandits.tree import TreePrefixSum, add_node, close_node, level_of
from sfumato.privacy.bounds import ZCDP

PRIVATE = [SiloLDP(1.0, 1e-5), SecureSumDP(1.0, 1e-5), SecureSumDP(1.0, 1e-5, tolerated=2), CentralJDP(1.0, 1e-5)]


@given(st.integers(1, 1000), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_without_noise_every_prefix_is_the_exact_cumulative_sum(batches, seed):
    data = np.random.default_rng(seed).integers(-(10**6), 10**6, (batches, 2, 3))
    partial, kept = np.zeros((batches.bit_length(), 2, 3), np.int64), np.zeros((batches.bit_length(), 2, 3), np.int64)
    for number, batch in enumerate(data, 1):
        node, partial = close_node(partial, number, batch)
        prefix, kept = add_node(kept, number, node)
        np.testing.assert_array_equal(prefix, data[:number].sum(axis=0))


@pytest.mark.parametrize("batches", [1, 2, 3, 7, 64, 100])
def test_a_batch_lies_in_no_more_nodes_than_the_noise_is_for(batches):
    """One-hot batches: a node's entries name the batches in it."""
    levels = Design(1, 1, batches, 1).levels
    partial = np.zeros((levels, batches), np.int64)
    times = np.zeros(batches, np.int64)
    for number, batch in enumerate(np.eye(batches, dtype=np.int64), 1):
        node, partial = close_node(partial, number, batch)
        assert node.sum() == 2 ** level_of(number)
        times += node
    assert times.max() <= levels
    if batches & (batches - 1) == 0:
        assert times[0] == levels


@pytest.mark.parametrize("adjacency", ["replace-one", "add-remove"])
@pytest.mark.parametrize("silos", [1, 5])
def test_the_claims_rho_is_that_of_the_noise(adjacency, silos):
    """ρ = κΔ²/(2σ²), with what the grid adds to Δ: 0.1 % at most here."""
    design = Design(4, silos, 6400, 25, adjacency)
    assert design.levels == 9
    for mechanism, summands in ((SiloLDP(2.0, 1e-6), silos), (SecureSumDP(2.0, 1e-6), 1), (CentralJDP(2.0, 1e-6), 1)):
        fitted = mechanism.calibrate(design)
        rho = fitted.claim.bound.rho
        expected = design.levels * design.sensitivity**2 * summands / (2 * fitted.sigma**2)
        assert expected <= rho <= expected * 1.004
        assert 1.99 < fitted.claim.epsilon_at(1e-6) <= 2.0
        assert fitted.claim.neighbours == adjacency
    assert math.isclose(
        SecureSumDP(2.0, 1e-6, tolerated=silos - 1).calibrate(design).sigma,
        SecureSumDP(2.0, 1e-6).calibrate(design).sigma * math.sqrt(silos),
    )


@pytest.mark.parametrize("mechanism", PRIVATE, ids=repr)
def test_a_nodes_noise_is_drawn_once_and_has_the_stated_size(mechanism):
    """Zero data show the noise alone. 4000 coordinates: a variance off by 12 % is 1e-6 unlikely (chi-squared)."""
    design = Design(88, 3, 4, 1)
    assert design.length == 4004
    fitted = mechanism.calibrate(design)
    tree = TreePrefixSum(fitted, noise_seed=5)
    one, two, three, four = (tree.push(np.zeros((3, design.length))) for _ in range(4))
    for nodes, noise in ((1, one), (1, two), (2, three), (1, four)):
        assert 0.88 < noise.var() / (nodes * fitted.sigma**2) < 1.12
    third = three - two  # the node of the third batch: the second prefix is in the third prefix as it was
    assert 0.88 < third.var() / fitted.sigma**2 < 1.12
    assert abs(np.corrcoef(third, two)[0, 1]) < 0.08


def test_a_run_is_charged_once_before_its_first_batch(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    fitted = SiloLDP(1.0, 1e-5).calibrate(Design(2, 2, 10, 1))
    ledger.create("users", ZCDP(1.5 * fitted.claim.bound.rho), unit="record", neighbours="replace-one")
    with ledger.charging("users"):
        tree = TreePrefixSum(fitted)
        for _ in range(10):
            tree.push(np.zeros((2, 5)))
        assert ledger.account("users").charges == 1
        assert ledger.account("users").spent.rho == fitted.claim.bound.rho
        with pytest.raises(BudgetExceeded):
            TreePrefixSum(fitted)
    assert tree.claim_.formal


def test_the_noise_ends_with_the_horizon_and_is_nobody_elses():
    tree = TreePrefixSum(SiloLDP(1.0, 1e-5).calibrate(Design(2, 2, 3, 1)))
    for bad in (np.zeros((2, 4)), np.zeros(5), np.full((2, 5), np.nan)):
        with pytest.raises(InvalidData):
            tree.push(bad)
    assert tree.released_ == 0
    for _ in range(3):
        tree.push(np.zeros((2, 5)))
    with pytest.raises(HorizonExceeded, match="3 batches"):
        tree.push(np.zeros((2, 5)))
    with pytest.raises(ClaimViolated):
        pickle.dumps(tree)
    assert not TreePrefixSum(SiloLDP(1.0, 1e-5).calibrate(Design(2, 2, 3, 1)), noise_seed=0).claim_.formal


def test_without_privacy_sums_are_exact_and_nothing_is_claimed():
    tree = TreePrefixSum(NoPrivacy().calibrate(Design(2, 2, 3, 1)))
    batch = np.random.default_rng(0).normal(size=(2, 5))
    np.testing.assert_allclose(tree.push(batch), batch.sum(axis=0), atol=1e-11)
    np.testing.assert_allclose(tree.push(batch), 2 * batch.sum(axis=0), atol=1e-11)
    assert not tree.claim_.formal


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-5), (math.inf, 1e-5), (math.nan, 1e-5), (1, 0), (1, 1), (1, -1)])
def test_budgets_out_of_range_are_refused(epsilon, delta):
    for mechanism in (SiloLDP, SecureSumDP, CentralJDP):
        with pytest.raises(InvalidClaim):
            mechanism(epsilon, delta)


def test_designs_and_shares_out_of_range_are_refused():
    with pytest.raises(InvalidData, match="tolerated"):
        SecureSumDP(1.0, 1e-5, tolerated=-1)
    with pytest.raises(InvalidData, match="tolerated"):
        SecureSumDP(1.0, 1e-5, tolerated=2).calibrate(Design(2, 2, 3, 1))
    with pytest.raises(InvalidData, match="horizon"):
        Design(2, 2, 3, 4)
    with pytest.raises(InvalidData, match="silos"):
        Design(2, 0, 3, 1)
    with pytest.raises(InvalidData, match="adjacency"):
        Design(2, 1, 3, 1, "swap")
    with pytest.raises(InvalidData, match="share"):
        SecureSumDP(1e5, 0.5).calibrate(Design(2, 1000, 3, 1))
