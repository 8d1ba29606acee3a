"""The uploads that the study attacks come from the protocols, and are what the attacks take."""

import numpy as np
import pytest
import torch

from sfumato import ApproxDP
from sfumato.attacks.gradient_inversion import mean_gradient, recover
from sfumato.federation.hypernetwork.settings import draw_embedding
from sfumato.studies.gradient_inversion import _paired, _suspected
from sfumato.studies.gradient_inversion_uploads import CLIP, averaged, digits_bench, hypernetwork


@pytest.fixture(scope="module")
def bench():
    return digits_bench(0, gallery=50)


@pytest.mark.parametrize("client", [0, 3])
def test_one_upload_of_the_protocol_gives_the_private_embedding_away(bench, client):
    """Of its own client, in single precision."""
    found = recover(hypernetwork(bench, [client], client=client).view).embedding
    secret = draw_embedding(bench.embedding, bench.seed, client).double()
    assert float((found - secret).norm() / secret.norm()) < 1e-3


def test_what_stays_in_the_silo_is_not_in_the_view(bench):
    upload = hypernetwork(bench, [0])
    assert {"embedding", "head/weight"} <= set(upload.memory)
    assert {name.split(".")[0] for name in upload.view.update} == {"hidden", "heads"}


def test_the_gradient_behind_an_averaged_update_is_the_networks(bench):
    view = averaged(bench, range(4)).view
    x, y = (torch.as_tensor(part) for part in bench.silo(range(4)))
    theta = {name: p.requires_grad_() for name, p in view.tensors("parameters").items()}
    loss = torch.nn.functional.cross_entropy(torch.func.functional_call(view.model, theta, (x,)), y)
    found = mean_gradient(view)
    for name, true in zip(theta, torch.autograd.grad(loss, tuple(theta.values())), strict=True):
        assert torch.allclose(found[name].float(), true, atol=1e-4)


@pytest.mark.parametrize("source", [averaged, hypernetwork])
def test_a_noisy_upload_has_its_claim_and_much_more_noise_than_signal(bench, source):
    upload = source(bench, [0], bound=ApproxDP(4.0, 1e-5))
    assert upload.claim.formal
    assert upload.claim.unit == "silo"
    size = np.sqrt(sum(np.square(np.asarray(u, float)).sum() for u in upload.view.update.values()))
    assert size > 20 * CLIP


def test_the_gallery_names_every_image_behind_a_plain_update(bench):
    targets = np.array([3, 14, 15])
    assert _suspected([averaged(bench, [i]) for i in targets], bench, targets) == [1, 1, 1]


def test_a_paired_interval_of_one_image_is_open():
    assert _paired(np.array([2.0])) == (2.0, float("-inf"), float("inf"))
    mean, low, high = _paired(np.array([1.0, 3.0]))
    assert low < mean == 2.0 < high
