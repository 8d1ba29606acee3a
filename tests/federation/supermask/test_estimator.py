"""SignSupermask as a user meets it: fit, predict, personal models, history, export; and the rivals' loops."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from smallest.masks import network, records

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation import Checkpoint, InProcess, Terms
from sfumato.federation.supermask import SignSupermask, make_subnetwork, pack_signs
from sfumato.federation.supermask.baselines import Baselines
from sfumato.federation.supermask.evaluation import entropy
from sfumato.privacy.bounds import ZCDP, ApproxDP, Heuristic, PureDP

SILOS = [records(k) for k in range(3)]
HELD_OUT = [records(10 + k, rows=80) for k in range(3)]


def model(**change):
    given = change.pop("network", network())
    return SignSupermask(given, 2, **{"keep": 0.6, "rounds": 4, "random_state": 0, "saliency_steps": 10, **change})


def test_it_learns_a_model_for_all_and_one_a_silo():
    fitted = model().fit(SILOS, validation=HELD_OUT)
    x, y = records(20, rows=300)
    assert (fitted.predict(x) == y).mean() > 0.9
    assert (fitted.predict(x, silo=2) == y).mean() > 0.85
    assert fitted.predict(x).dtype == np.int64
    assert set(fitted.personal_signs_) == {0, 1, 2}
    assert sum(int(mask.sum()) for mask in fitted.mask_.values()) == len(fitted.signs_)
    last = fitted.history_[-1]
    assert len(fitted.history_) == 4
    assert last["global_accuracy"] > 0.9
    assert last["personal_accuracy"] > 0.85
    assert 0 <= last["flipped"] < 1
    assert last["bytes_up"] == fitted.outcome_.history[-1].payload_received


def test_it_promises_nothing_and_says_so():
    claim = model(rounds=1).fit(SILOS).claim_
    assert isinstance(claim.bound, Heuristic)
    assert not claim.formal
    assert "not harmless" in str(claim)


def test_with_a_claim_it_promises_that_over_all_rounds():
    fitted = model(claim=ApproxDP(8.0, 1e-4), sampling_rate=0.5, private_steps=3).fit(SILOS)
    assert fitted.claim_.formal
    assert 7.5 < fitted.claim_.epsilon_at(1e-4) <= 8.0
    assert fitted.claim_.unit == "record"
    assert fitted.claim_.trust == "silo"
    assert fitted.claim_.neighbours == "add-remove"


def test_the_same_random_state_gives_the_same_model_and_none_another():
    a, b, c = (model(random_state=seed, rounds=1).fit(SILOS).export() for seed in (0, 0, None))
    assert a == b != c


def test_an_exported_model_gives_the_same_logits():
    fitted = model().fit(SILOS)
    x = torch.from_numpy(records(30)[0])
    for silo in (None, 1):
        data = fitted.export(silo)
        loaded = SignSupermask.load(data, network(), (6,))
        signs = fitted.signs_ if silo is None else fitted.personal_signs_[silo]
        assert len(data) - len(pack_signs(signs)) < 300
        sub = make_subnetwork(network(), (6,), keep=0.6, seed=0, steps=10)
        with torch.no_grad():
            assert torch.equal(loaded(x), sub.logits(sub.values * torch.from_numpy(signs), x))
        assert (loaded(x).argmax(1).numpy() == fitted.predict(x.numpy(), silo=silo)).all()


@pytest.mark.parametrize("change", ["cut", "network", "text"])
def test_what_is_no_export_of_this_network_is_refused(change):
    data = model(rounds=1).fit(SILOS).export()
    other = torch.nn.Sequential(torch.nn.Linear(6, 2))
    given = {"cut": (data[:-1], network()), "network": (data, other), "text": (b"text", network())}[change]
    with pytest.raises(InvalidData, match=r"not an exported|another network|too small"):
        SignSupermask.load(*given, (6,))


def test_a_resumed_fit_has_the_history_of_what_it_saw(tmp_path):
    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path))
    first = model(rounds=2).fit(SILOS, validation=HELD_OUT, runtime=InProcess(terms))
    again = model(rounds=2).fit(SILOS, validation=HELD_OUT, runtime=InProcess(terms))
    assert again.history_ == []
    assert (again.signs_ == first.signs_).all()


def test_parameters_are_kept_as_given():
    given = model(keep=0.5)
    assert clone(given).get_params()["keep"] == 0.5
    assert given.get_params()["network"] is given.network


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"network": "resnet"}, InvalidData, "network"),
        ({"code": "ternary"}, InvalidData, "code"),
        ({"keep": 2}, InvalidData, "keep"),
        ({"keep": 0.001}, InvalidData, "least that works"),
        ({"claim": ApproxDP(1.0, 1e-5), "sampling_rate": 2.0}, InvalidClaim, "sampling_rate"),
        ({"claim": ApproxDP(1.0, 0.0)}, InvalidClaim, "above 0"),
        ({"claim": PureDP(1.0)}, InvalidClaim, r"ApproxDP.* for unit=.record"),
        ({"claim": ApproxDP(1.0, 1e-5), "bits_per_round": 3}, InvalidData, r"bits_per_round is for unit=.silo"),
        ({"claim": ApproxDP(1.0, 1e-5), "honest": 3}, InvalidData, r"honest is for unit=.silo"),
        ({"unit": "user"}, InvalidClaim, "unit"),
        ({"unit": "silo"}, InvalidClaim, "needs a claim"),
        ({"unit": "silo", "claim": ZCDP(1.0)}, InvalidClaim, "PureDP or ApproxDP"),
        ({"unit": "silo", "claim": PureDP(0.0)}, InvalidClaim, "above 0"),
        ({"unit": "silo", "claim": PureDP(1.0), "honest": 2}, InvalidClaim, "ZCDP or ApproxDP"),
        ({"unit": "silo", "claim": ApproxDP(1.0, 0.0), "honest": 2}, InvalidClaim, "rho above 0"),
        ({"unit": "silo", "claim": ZCDP(1.0), "honest": 4}, InvalidData, "at most the 3 silos"),
        ({"unit": "silo", "claim": ZCDP(1.0), "honest": 0}, InvalidData, "honest"),
        ({"unit": "silo", "claim": PureDP(1.0), "bits_per_round": 1000}, InvalidData, "at most the 77 kept"),
        ({"unit": "silo", "claim": PureDP(1.0), "bits_per_round": 1.5}, InvalidData, "bits_per_round"),
        ({"unit": "silo", "claim": PureDP(1.0), "aggregate": "majority"}, InvalidData, "aggregate"),
        ({"unit": "silo", "claim": PureDP(1.0), "send_mask": True}, InvalidData, "send_mask"),
        ({"local_epochs": 0}, InvalidData, "epochs"),
        ({"input_shape": (5,)}, InvalidData, "shape"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(change, error, reason):
    with pytest.raises(error, match=reason):
        model(**change).fit(SILOS)


def test_bad_records_and_silos_are_named():
    fitted = model(rounds=1).fit(SILOS)
    with pytest.raises(InvalidData, match="shape"):
        fitted.predict(np.zeros((2, 5)))
    with pytest.raises(InvalidData, match="silo must be one of"):
        fitted.predict(np.zeros((2, 6)), silo=7)
    with pytest.raises(InvalidData, match="input_shape"):
        model().fit(None)


def test_the_rivals_learn_too():
    tensors = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in SILOS]
    held_out = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in HELD_OUT]
    dense = make_subnetwork(network(), (6,), keep=1.0, seed=0, weights="normal")
    runs = Baselines(dense, tensors, held_out, rounds=12)
    for name, change in [("fedavg", 0.3), ("alone", 0.3), ("sign_sgd", 0.01), ("fedpm", 0.3)]:
        history = getattr(runs, name)(change)
        assert len(history) == 12
        assert history[-1]["personal_accuracy"] > 0.9, name
    assert runs.fedavg()[0]["bytes_up"] == 3 * 4 * 128
    assert dataclasses.replace(runs, held_out=[]).fedavg()[0]["global_accuracy"] is not None
    assert math.isnan(dataclasses.replace(runs, held_out=[]).fedavg()[0]["global_accuracy"])


def test_the_entropy_of_a_coin():
    assert entropy(0.5) == 1
    assert entropy(0.0) == entropy(1.0) == 0
    assert entropy(0.11) == pytest.approx(0.4999, abs=1e-3)
