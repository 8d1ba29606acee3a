"""A view refuses what no attack could use, and names it."""

import numpy as np
import pytest
from torch import nn

from sfumato.attacks.gradient_inversion import View
from sfumato.errors import InvalidData

MODEL = nn.Linear(2, 1)
FINE = {"weight": np.ones((1, 2)), "bias": np.ones(1)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"parameters": {}}, "parameters must be a mapping"),
        ({"update": None}, "update must be a mapping"),
        ({"update": {**FINE, "bias": np.array([np.nan])}}, r"update\['bias'\] must be finite"),
        ({"update": {**FINE, "bias": np.array(["a"])}}, r"update\['bias'\] must be finite"),
        ({"update": {**FINE, "bias": np.ones(2)}}, r"update\['bias'\] has shape \(2,\)"),
        ({"update": {**FINE, "other": np.ones(2)}}, "parameters lacks 'other'"),
        ({"model": "a network"}, "model must be a torch.nn.Module"),
        ({"kind": "sum"}, "kind must be one of gradient, delta"),
        ({"kind": "delta"}, "lr must be positive"),
        ({"kind": "delta", "lr": 0.0}, "lr must be positive"),
        ({"steps": 3}, "several steps need kind='delta'"),
        ({"steps": 0}, "steps must be"),
        ({"batch": 1.5}, "batch must be"),
        ({"known": {"secret": 1}}, "known must be a mapping with keys among shape"),
        ({"known": {"shape": (8, 8)}}, "channels, height, width"),
        ({"known": {"labels": [1, 2]}}, "must be 1 whole numbers"),
        ({"known": {"mean": [0.0]}}, "go together"),
        ({"known": {"mean": [0.0], "std": [0.0]}}, "positive"),
    ],
)
def test_a_wrong_part_is_named(changed, said):
    with pytest.raises(InvalidData, match=said):
        View(**{"parameters": FINE, "update": FINE, "model": MODEL, **changed})


def test_parameters_that_clients_leave_alone_may_be_missing_from_the_update():
    assert set(View(FINE, {"weight": FINE["weight"]}, MODEL).tensors("update")) == {"weight"}


def test_batch_norm_in_training_mode_is_warned_of():
    with pytest.warns(UserWarning, match="batch norm"):
        View(FINE, FINE, nn.BatchNorm1d(2))
