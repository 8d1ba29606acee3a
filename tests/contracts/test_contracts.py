"""One contract for every public class with a formal claim: sensitivity, an audit on its worst pair, broken twins.

A class without its entry in `contracts` fails this suite.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from coupling import a_reused_draw, coupled_distance, less_noise

import sfumato
from contracts import CONTRACTS, WITHOUT_A_FORMAL_CLAIM
from sfumato.attacks.bayesian_audit import Auditor

ACTS = ("fit", "release", "query", "sample", "train", "audit")
ROOMS = ("statistics", "synthesis", "training", "federation", "inference", "media", "attacks")
EACH = pytest.mark.parametrize("contract", CONTRACTS, ids=str)


def public_classes():
    """Classes that a room exports and that act on data or carry a claim."""
    found = {}
    for room in pkgutil.walk_packages(sfumato.__path__, "sfumato."):
        if room.name.split(".")[1] not in ROOMS:
            continue
        module = importlib.import_module(room.name)
        for name in getattr(module, "__all__", ()):
            each = getattr(module, name)
            if inspect.isclass(each) and each.__module__.startswith("sfumato") and _acts(each):
                found[each.__name__] = each
    return found


def _acts(each):
    fields = getattr(each, "__dataclass_fields__", {})
    return any(hasattr(each, name) for name in (*ACTS, "claim", "claim_")) or "claim" in fields


def auditor(contract, **change):
    n = contract.trials
    sizes = {"n_train": n // 10, "n_select": n // 5, "n_test": n, "random_state": 3, "progress": False}
    return Auditor(**{**sizes, "scores": ("threshold", "histogram", "linear"), **change})


def test_every_public_class_has_a_contract_or_a_reason():
    known = {contract.subject.__name__ for contract in CONTRACTS} | set(WITHOUT_A_FORMAL_CLAIM)
    assert set(public_classes()) - known == set()
    assert known - set(public_classes()) == set(), "an entry for a class that is no longer public"


@EACH
def test_one_unit_moves_each_draw_by_its_declared_sensitivity_and_no_more(contract):
    rng = np.random.default_rng(0)
    distances = [coupled_distance(contract.run, *contract.neighbours(rng), rng) for _ in range(60)]
    assert max(distances) <= 1 + 1e-9
    assert max(distances) > 0.5  # and the declared sensitivity is not far beyond what is needed


@EACH
def test_the_claim_is_formal_and_holds_on_its_worst_pair(contract):
    """A sound mechanism is accused with probability 1e-6."""
    assert contract.claim.formal
    report = auditor(contract, alpha=1e-6).audit(contract.outputs, contract.claim, pairs=contract.worst)
    assert report.verdict == "no violation found"


@EACH
def test_a_twin_with_too_little_noise_is_caught(contract):
    with less_noise(contract.bug):
        report = auditor(contract).audit(contract.outputs, contract.claim, pairs=contract.worst)
    assert report.verdict == "violation"


@EACH
def test_a_twin_for_other_neighbours_is_caught(contract):
    report = auditor(contract).audit(contract.outputs, contract.claim, pairs=contract.too_far)
    assert report.verdict == "violation"


@EACH
def test_a_twin_that_uses_its_draw_again_is_caught(contract):
    with a_reused_draw():
        report = auditor(contract).audit(contract.outputs, contract.claim, pairs=contract.worst)
    assert report.verdict == "violation"
