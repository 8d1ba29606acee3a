"""The small convolutional networks that turn an image into features, by name.

For `HyperFL`, its baselines and the attacks on their uploads. After Guo et al. (AAAI 2025), as its official code has
them; those for 8 x 8 digits are ours, for tests.
"""

from __future__ import annotations

from torch import nn

from sfumato.errors import InvalidData


def cnn_mnist() -> nn.Module:
    """Return the extractor of images of shape (1, 28, 28): 128 features, 115,776 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 128),
        nn.LeakyReLU(),
    )


def cnn_cifar() -> nn.Module:
    """Return the extractor of images of shape (3, 32, 32): 128 features."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(576, 128),
        nn.LeakyReLU(),
    )


def cnn_digits() -> nn.Module:
    """Return an extractor of images of shape (1, 8, 8): 32 features, 4,264 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.LeakyReLU(),
    )


def mlp_digits() -> nn.Module:
    """Return a fully connected extractor of images of shape (1, 8, 8): 32 features, 2,080 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LeakyReLU())


EXTRACTORS = {"cnn-mnist": cnn_mnist, "cnn-cifar": cnn_cifar, "cnn-digits": cnn_digits, "mlp-digits": mlp_digits}


def make_extractor(name: str) -> nn.Module:
    """Return a fresh extractor of that name; its parameters are drawn by torch's global generator.

    Parameters
    ----------
    name : {"cnn-mnist", "cnn-cifar", "cnn-digits", "mlp-digits"}

    Raises
    ------
    InvalidData
        If there is none of that name.
    """
    if name not in EXTRACTORS:
        raise InvalidData(f"extractor must be a module or one of {', '.join(EXTRACTORS)}; got {name!r}")
    return EXTRACTORS[name]()
