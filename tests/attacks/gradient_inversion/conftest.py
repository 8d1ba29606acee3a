"""Small networks, a hypernetwork of ten lines, and the uploads of their clients."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sfumato.attacks.gradient_inversion import View


class Hypernetwork(nn.Module):
    """HyperFL's, as its card has it: one hidden layer, one linear head for each parameter tensor."""

    def __init__(self, extractor, embedding=6, hidden=12, bias=True):
        super().__init__()
        self.shapes = {name: p.shape for name, p in extractor.named_parameters()}
        self.hidden = nn.Linear(embedding, hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, s.numel(), bias=bias) for s in self.shapes.values())

    def forward(self, v):
        z = torch.relu(self.hidden(v))
        return {n: head(z).reshape(s) for head, (n, s) in zip(self.heads, self.shapes.items(), strict=True)}


def arrays(module):
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}


def gradient_of(loss, module):
    found = torch.autograd.grad(loss, tuple(module.parameters()))
    return {name: g.numpy() for (name, _), g in zip(module.named_parameters(), found, strict=True)}


def delta_of(module, losses, **sgd):
    """Train for as many steps as there are losses; each is a function without arguments."""
    before, optimizer = arrays(module), torch.optim.SGD(module.parameters(), **sgd)
    for loss in losses:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return before, {name: after - before[name] for name, after in arrays(module).items()}


def digits(n, dtype=torch.float64, start=0):
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x[start : start + n] / 16, dtype=dtype).reshape(-1, 1, 8, 8), torch.tensor(y[start : start + n])


def mlp(activation=nn.Sigmoid, dtype=torch.float64, hidden=32):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), activation(), nn.Linear(hidden, 10)).to(dtype)


def convolutional(dtype=torch.float64):
    """An extractor for digits of 8 x 8 pixels; its last layer is linear, as HyperFL's is."""
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 24)]
    return nn.Sequential(*layers, nn.LeakyReLU()).to(dtype)


def mnist_classifier():
    """HyperFL's network for MNIST: extractor and head."""
    layers = [nn.Conv2d(1, 16, 5), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=1), nn.LeakyReLU()]
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 128), nn.LeakyReLU()]
    return nn.Sequential(nn.Sequential(*layers), nn.Linear(128, 10))


def plain_view(model, images, labels, **changed):
    loss = nn.functional.cross_entropy(model(images), labels)
    given = {
        "parameters": arrays(model),
        "update": gradient_of(loss, model),
        "model": model,
        "batch": len(images),
        "known": {"shape": tuple(images.shape[1:])},
    }
    return View(**given | changed)


def hyper_client(images, labels, *, bias=True, seed=0, extractor=None):
    """A client of HyperFL: its hypernetwork, embedding, extractor's parameters, classifier and loss."""
    torch.manual_seed(seed)
    extractor = convolutional() if extractor is None else extractor
    network = Hypernetwork(extractor, bias=bias).double()
    embedding = torch.randn(6, dtype=torch.float64)
    features = extractor(images).shape[1]
    classifier = nn.Linear(features, 10).double()

    def loss(theta=None):
        theta = network(embedding) if theta is None else theta
        seen = torch.func.functional_call(extractor, theta, (images,))
        return nn.functional.cross_entropy(classifier(seen), labels)

    return SimpleNamespace(
        extractor=extractor, network=network, embedding=embedding, classifier=classifier, loss=loss, batch=len(images)
    )


def hyper_view(client, images, **changed):
    given = {
        "parameters": arrays(client.network),
        "update": gradient_of(client.loss(), client.network),
        "model": client.extractor,
        "batch": client.batch,
        "known": {"shape": tuple(images.shape[1:]), "classes": 10},
    }
    return View(**given | changed)


@pytest.fixture
def lab():
    """All of the above; pytest's importlib mode has no sibling imports."""
    torch.manual_seed(0)
    return SimpleNamespace(
        Hypernetwork=Hypernetwork,
        arrays=arrays,
        gradient_of=gradient_of,
        delta_of=delta_of,
        digits=digits,
        mlp=mlp,
        convolutional=convolutional,
        mnist_classifier=mnist_classifier,
        plain_view=plain_view,
        hyper_client=hyper_client,
        hyper_view=hyper_view,
    )
