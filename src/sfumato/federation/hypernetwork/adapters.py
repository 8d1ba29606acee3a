"""HyperFLAdapters: a frozen pretrained backbone, whose adapters the shared hypernetwork writes.

For whoever has a backbone too large to generate. HyperFL-LPM of Guo et al. (AAAI 2025). Generated adapters are loaded
by name and strictly; in the official ResNet code a dot is missing from the names, so its adapters never change.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from sfumato.errors import InvalidData
from sfumato.federation.hypernetwork.estimator import HyperFL
from sfumato.federation.hypernetwork.network import Init
from sfumato.federation.hypernetwork.private import PrivacyUnit
from sfumato.privacy.bounds import ZCDP, ApproxDP


class Adapter(nn.Module):
    """y = norm(x + conv1x1(norm(x))) on maps of shape (n, channels, height, width)."""

    def __init__(self, channels: int, *, normalise: bool) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(channels) if normalise else nn.Identity()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.after = nn.BatchNorm2d(channels) if normalise else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps of the same shape."""
        out: torch.Tensor = self.after(x + self.mix(self.before(x)))
        return out


class AdaptedBackbone(nn.Module):
    """Stages that never change, an adapter after each, and the mean over all places of the last maps.

    Parameters
    ----------
    stages : sequence of Module
        Of the backbone, in order; copied. Their weights become buffers outside the state dict: no optimizer, no
        hypernetwork and no upload can reach them.
    channels : sequence of int
        Channels of the maps that each stage gives.
    normalise : bool
        Whether adapters have batch normalisation.

    Raises
    ------
    InvalidData
        If there are no stages, or another number of channels.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], *, normalise: bool = True) -> None:
        super().__init__()
        if not len(stages) or len(stages) != len(channels):
            raise InvalidData(
                f"stages and channels must be of equal length, at least 1; got {len(stages)} and {len(channels)}"
            )
        self.stages = nn.ModuleList(_frozen(stage) for stage in stages)
        self.adapters = nn.ModuleList(Adapter(each, normalise=normalise) for each in channels)

    def train(self, mode: bool = True) -> AdaptedBackbone:
        """Set the adapters' mode; stages stay in evaluation mode."""
        super().train(mode)
        self.stages.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of shape (n, last channels)."""
        for stage, adapter in zip(self.stages, self.adapters, strict=True):
            x = adapter(stage(x))
        return x.mean((2, 3))


class HyperFLAdapters(HyperFL):
    """`HyperFL` on the adapters of a frozen backbone.

    Parameters
    ----------
    stages : sequence of Module
        Of a pretrained backbone that the user has loaded; see `AdaptedBackbone`.
    channels : sequence of int
    num_classes : int
    normalise : bool
        Batch normalisation in the adapters. With unit "record" it must be False.
    others
        As for `HyperFL`; batches of 16 and a learning rate of 0.01, as the paper has for ResNets.

    Examples
    --------
    >>> stage = nn.Conv2d(1, 4, 3)
    >>> HyperFLAdapters([stage], [4], 10, hidden_dim=8, rounds=1).protocol().name
    'hyperfl'
    """

    def __init__(
        self,
        stages: Sequence[nn.Module] = (),
        channels: Sequence[int] = (),
        num_classes: int = 10,
        *,
        normalise: bool = True,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        rounds: int = 200,
        local_epochs: int = 5,
        head_epochs: int = 1,
        learning_rate: float = 0.01,
        head_learning_rate: float = 0.1,
        momentum: float = 0.5,
        weight_decay: float = 5e-4,
        grad_clip: float = 50.0,
        batch_size: int = 16,
        claim: ZCDP | ApproxDP | None = None,
        unit: PrivacyUnit = "silo",
        clip_norm: float = 1.0,
        init: Init = "hyperfan",
        share_bias: bool = True,
        embedding_seed: int | None = None,
        random_state: int | None = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            rounds=rounds,
            local_epochs=local_epochs,
            head_epochs=head_epochs,
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            grad_clip=grad_clip,
            batch_size=batch_size,
            claim=claim,
            unit=unit,
            clip_norm=clip_norm,
            init=init,
            share_bias=share_bias,
            embedding_seed=embedding_seed,
            random_state=random_state,
        )
        self.stages = stages
        self.channels = channels
        self.normalise = normalise

    def _extractor(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the adapters' first weights are replaced by generated ones before any use
            return AdaptedBackbone(self.stages, self.channels, normalise=self.normalise)


def _frozen(stage: nn.Module) -> nn.Module:
    own = copy.deepcopy(stage).eval()
    for module in own.modules():
        for name, value in {**dict(module.named_parameters(recurse=False)), **module._buffers}.items():
            module._parameters.pop(name, None)
            module._buffers.pop(name, None)
            module.register_buffer(name, None if value is None else value.detach().clone(), persistent=False)
    return own
