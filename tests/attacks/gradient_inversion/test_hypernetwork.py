"""What HyperFL's uploads give away: all of it after one step, by algebra; the searches that follow."""

import numpy as np
import pytest
import torch
from torch import nn

from sfumato.attacks.gradient_inversion import GradientInversion, View, mean_gradient, recover
from sfumato.attacks.gradient_inversion.attack import METHODS
from sfumato.attacks.gradient_inversion.hypernetwork import Surrogate
from sfumato.attacks.gradient_inversion.naive import NaiveHypernetwork
from sfumato.attacks.gradient_inversion.objectives import cosine_distance
from sfumato.errors import AttackNotApplicable, InvalidData


def relative(found, true):
    return float(((found - true).norm() / true.norm()).detach())


def hidden_things(client):
    """θ, its gradient, z and v, as only the client knows them."""
    theta = {name: p.detach().requires_grad_() for name, p in client.network(client.embedding).items()}
    gradient = torch.autograd.grad(client.loss(theta), tuple(theta.values()))
    z = torch.relu(client.network.hidden(client.embedding)).detach()
    return theta, dict(zip(theta, gradient, strict=True)), z


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_one_step_gives_gradient_activation_parameters_and_embedding_away(lab, bias, batch, seed):
    """In float64, for any batch; without biases of the heads too, and at the true scale."""
    images, labels = lab.digits(batch)
    client = lab.hyper_client(images, labels, bias=bias, seed=seed)
    theta, gradient, z = hidden_things(client)
    found = recover(lab.hyper_view(client, images))
    assert relative(found.activation, z) < 1e-9
    assert relative(found.embedding, client.embedding) < 1e-9
    for name in theta:
        assert relative(found.gradient[name], gradient[name]) < 1e-9
        assert relative(found.parameters[name], theta[name].detach()) < 1e-9
    assert found.rank_one == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_so_does_the_delta_of_one_step_with_weight_decay_and_clipping(lab, bias):
    images, labels = lab.digits(4)
    client = lab.hyper_client(images, labels, bias=bias)
    theta, gradient, z = hidden_things(client)
    sgd = {"lr": 0.02, "momentum": 0.5, "weight_decay": 5e-4}
    clip = 0.3

    def clipped():
        return clip * client.loss()

    before, delta = lab.delta_of(client.network, [clipped], **sgd)
    known = {"shape": (1, 8, 8), "momentum": 0.5, "weight_decay": 5e-4}
    view = View(before, delta, client.extractor, "delta", lr=0.02, batch=4, known=known)
    found = recover(view)
    assert relative(found.activation, z) < 1e-9
    assert relative(found.embedding, client.embedding) < 1e-9
    for name in theta:
        assert relative(found.gradient[name], clip * gradient[name]) < 1e-9
        assert relative(found.parameters[name], theta[name].detach()) < 1e-9


def test_momentum_and_weight_decay_of_many_steps_are_undone_exactly():
    """A loss that is linear in the parameters has one gradient in every step."""
    torch.manual_seed(0)
    module, slope = nn.Linear(3, 2).double(), torch.randn(2, 3, dtype=torch.float64)
    before = {name: p.detach().clone().numpy() for name, p in module.named_parameters()}
    sgd = {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.05}
    optimizer = torch.optim.SGD(module.parameters(), **sgd)
    for _ in range(7):
        optimizer.zero_grad()
        ((slope * module.weight).sum() + module.bias.sum()).backward()
        optimizer.step()
    delta = {name: p.detach().numpy() - before[name] for name, p in module.named_parameters()}
    known = {"momentum": 0.7, "weight_decay": 0.05}
    found = mean_gradient(View(before, delta, module, "delta", lr=0.1, steps=7, known=known))
    assert relative(found["weight"], slope) < 1e-9
    assert relative(found["bias"], torch.ones(2, dtype=torch.float64)) < 1e-9


def test_several_steps_blur_it_but_the_embedding_stays_readable(lab):
    """z of the one-step formula drifts with the layer that makes it; v hardly does."""
    images, labels = lab.digits(8)
    client = lab.hyper_client(images, labels)
    theta, _, z = hidden_things(client)
    before, delta = lab.delta_of(client.network, [client.loss] * 10, lr=0.05)
    view = View(before, delta, client.extractor, "delta", lr=0.05, steps=10, batch=8, known={"shape": (1, 8, 8)})
    found = recover(view)
    assert 0.5 < found.rank_one < 1 - 1e-6
    assert relative(found.embedding, client.embedding) < 0.05
    assert relative(found.activation, z) < 0.05
    known = {"shape": (1, 8, 8), "embedding": client.embedding.numpy()}
    exact = recover(View(before, delta, client.extractor, "delta", lr=0.05, steps=10, batch=8, known=known))
    assert all(relative(exact.parameters[name], theta[name].detach()) < 1e-9 for name in theta)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_surrogate_has_the_true_gradient_at_the_true_images(lab, batch):
    images, labels = lab.digits(batch)
    client = lab.hyper_client(images, labels)
    theta, gradient, _ = hidden_things(client)
    surrogate = Surrogate(client.extractor, gradient, theta, batch)
    if batch == 1:
        found = surrogate.gradient(images)
    else:
        features = nn.Sequential(*client.extractor[:-1])
        named = dict(zip(dict(features.named_parameters()), theta.values(), strict=True))
        p = torch.func.functional_call(features, {n: q.detach() for n, q in named.items()}, (images,)).requires_grad_()
        loss = nn.functional.cross_entropy(client.classifier(client.extractor[-1](p)), labels)
        deltas = torch.autograd.grad(loss, p)[0]
        found = surrogate.gradient(images, deltas @ torch.linalg.pinv(surrogate.basis.T))
    assert all(relative(g, gradient[name]) < 1e-9 for name, g in found.items())
    assert set(found) == set(gradient)


def test_the_naive_attackers_distance_is_the_cosine_of_the_hypernetworks_gradients(lab):
    """Its shortcut against autograd through the whole hypernetwork."""
    images, labels = lab.digits(2)
    for bias in (True, False):
        client = lab.hyper_client(images, labels, bias=bias)
        view = lab.hyper_view(client, images)
        attack = GradientInversion("naive_hypernetwork", dtype="float64", random_state=0)
        guess = NaiveHypernetwork(attack._setting(view))
        x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
        theta = client.network(guess.v)
        logits = torch.func.functional_call(client.extractor, theta, (x,)) @ guess.psi.T
        gradient = torch.autograd.grad(
            nn.functional.cross_entropy(logits, guess.labels), tuple(client.network.parameters())
        )
        names = [name for name, _ in client.network.named_parameters()]
        expected = cosine_distance(dict(zip(names, gradient, strict=True)), view.tensors("update", torch.float64))
        assert float(guess.distance([x]).detach()) == pytest.approx(float(expected), abs=1e-9)


def test_the_adaptive_attack_does_what_ig_does_to_plain_averaging_and_the_naive_one_does_not(lab):
    images, labels = lab.digits(1)
    client = lab.hyper_client(images, labels)
    view = lab.hyper_view(client, images)
    found = {}
    for method in ("hypernetwork", "naive_hypernetwork"):
        attack = GradientInversion(method, 200, dtype="float64", random_state=0)
        attack.run(view, images.numpy())
        found[method] = attack.psnr_[0]
    assert found["hypernetwork"] > 14
    assert found["naive_hypernetwork"] < found["hypernetwork"] - 6


def test_a_private_head_alone_hides_no_more(lab):
    """What HyperFL is reduced to: the same search on the extractor's own gradient."""
    images, labels = lab.digits(1)
    client = lab.hyper_client(images, labels, seed=1)
    theta, gradient, _ = hidden_things(client)
    view = View(
        {name: p.detach().numpy() for name, p in theta.items()},
        {name: g.numpy() for name, g in gradient.items()},
        client.extractor,
        known={"shape": (1, 8, 8)},
    )
    plain = GradientInversion("private_head", 50, dtype="float64", random_state=0)
    plain.run(view, images.numpy())
    hyper = GradientInversion("hypernetwork", 50, dtype="float64", random_state=0)
    hyper.run(lab.hyper_view(client, images), images.numpy())
    assert plain.psnr_ == pytest.approx(hyper.psnr_, abs=0.5)


def test_a_small_batch_is_searched_for_together_with_its_deltas(lab):
    images, labels = lab.digits(2)
    client = lab.hyper_client(images, labels, seed=1)
    attack = GradientInversion("hypernetwork", 100, dtype="float64", random_state=0)
    attack.run(lab.hyper_view(client, images), images.numpy())
    noise = np.random.default_rng(0).random(images.shape)
    assert attack.psnr_.mean() > -10 * np.log10(np.square(noise - images.numpy()).mean())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {k: x for k, x in a.items() if k != "hidden.bias"}, "lacks 'hidden.bias'"),
        (lambda a: {k: x for k, x in a.items() if k != "heads.2.weight"}, "lacks 'heads.2.weight'"),
        (lambda a: {k: x for k, x in a.items() if k != "heads.2.bias"}, "'heads.2.bias'"),
        (lambda a: {**a, "heads.9.weight": np.ones((2, 2))}, "heads.9.weight"),
        (lambda a: {**a, "heads.0.weight": np.ones((5, 12))}, "heads.0.weight"),
        (lambda a: {**a, "hidden.bias": np.ones(())}, "hidden"),
    ],
)
@pytest.mark.parametrize("method", ["hypernetwork", "naive_hypernetwork"])
def test_what_is_not_a_hypernetworks_upload_is_refused(lab, change, said, method):
    images, labels = lab.digits(1)
    view = lab.hyper_view(lab.hyper_client(images, labels), images)
    other = View(change(view.parameters), change(view.update), view.model, known=view.known)
    with pytest.raises(InvalidData, match=said):
        GradientInversion(method, 2).run(other)


def test_an_upload_that_lacks_a_part_or_says_nothing_is_refused(lab):
    images, labels = lab.digits(1)
    view = lab.hyper_view(lab.hyper_client(images, labels), images)
    part = {name: u for name, u in view.update.items() if name != "hidden.bias"}
    with pytest.raises(InvalidData, match="update lacks"):
        recover(View(view.parameters, part, view.model))
    with pytest.raises(AttackNotApplicable, match="zero"):
        recover(View(view.parameters, {n: 0 * u for n, u in view.update.items()}, view.model))
    with pytest.raises(InvalidData, match="no parameters"):
        recover(View(view.parameters, view.update, nn.Flatten()))
    client = lab.hyper_client(images, labels, extractor=nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()).double())
    with pytest.raises(AttackNotApplicable, match="no linear layer"):
        GradientInversion("hypernetwork", 2).run(lab.hyper_view(client, images))
    with pytest.raises(InvalidData, match="classes"):
        GradientInversion("naive_hypernetwork", 2).run(
            View(view.parameters, view.update, view.model, known={"shape": (1, 8, 8)})
        )


def test_every_method_is_documented():
    assert all(function.__doc__ for function in METHODS.values())
