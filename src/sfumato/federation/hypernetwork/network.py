"""HyperNetwork: a small network that writes the weights of another one, from a private vector.

For `HyperFL`: silos share it, and keep the vector. After Guo et al. (AAAI 2025): one hidden layer and one linear head
for each tensor. Its initialisation is that of Chang, Flokas and Lipson (ICLR 2020), hyperfan-in.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from sfumato.errors import InvalidData

#: Most weights that the heads may have, biases left out; the heads are `hidden_dim` times as large as the extractor.
MOST_GENERATED = 50_000_000

Init = Literal["hyperfan", "official"]

#: E ||z||² at the start, whatever hidden_dim: a step moves theta 1 + ||z||² times as far as plain SGD would, so if it
#: grew with hidden_dim, learning rates would have to shrink. On validation images 1 did as well as 8 (study 45).
_LENGTH2 = 8.0


class HyperNetwork(nn.Module):
    """Generate the parameters of an extractor: theta_k = heads_k(z), z = ReLU(hidden(v)).

    Parameters
    ----------
    extractor : Module
        Its ``named_parameters()`` give names and shapes; head k is of the k-th of them. It is not kept.
    embedding_dim : int
        Length E of the private vector v.
    hidden_dim : int
        Length H of z.
    share_bias : bool
        False leaves out the heads' biases.
    init : {"hyperfan", "official"}
        "hyperfan": for v of independent N(0, 1) entries weights of the extractor have variance 2 / fan-in, as Kaiming's
        have; half of it comes from the heads' biases, which all vectors share (without them all of it from z, and
        training with usual steps tends to die: a step that takes z to 0 takes all weights there). Tensors of one
        dimension begin at 0, or at the constant that the extractor begins with (the ones of a normalisation).
        "official": torch's default of a Linear, whatever scale that gives.
    random_state : int, optional
        Of the initialisation.

    Raises
    ------
    InvalidData
        If a dimension is below 1, the extractor has no parameters, or more than `MOST_GENERATED` weights would be
        needed.

    Examples
    --------
    >>> from torch.func import functional_call
    >>> extractor = nn.Linear(4, 3)
    >>> network = HyperNetwork(extractor, embedding_dim=8, hidden_dim=16, random_state=0)
    >>> theta = network(torch.randn(8))
    >>> functional_call(extractor, theta, (torch.ones(1, 4),)).shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        extractor: nn.Module,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        *,
        share_bias: bool = True,
        init: Init = "hyperfan",
        random_state: int | None = None,
    ) -> None:
        super().__init__()
        for name, dimension in (("embedding_dim", embedding_dim), ("hidden_dim", hidden_dim)):
            if dimension < 1:
                raise InvalidData(f"{name} must be at least 1, got {dimension}")
        if init not in ("hyperfan", "official"):
            raise InvalidData(f'init must be "hyperfan" or "official", got {init!r}')
        self.shapes = {name: parameter.shape for name, parameter in extractor.named_parameters()}
        size = sum(shape.numel() for shape in self.shapes.values())
        if not size:
            raise InvalidData("extractor must have parameters to generate, and has none")
        if size * hidden_dim > MOST_GENERATED:
            raise InvalidData(
                f"the heads would have {size:,} x {hidden_dim} weights, more than {MOST_GENERATED:,}: choose a smaller "
                "hidden_dim or extractor"
            )
        self.hidden = _empty(embedding_dim, hidden_dim, True)
        heads = [_empty(hidden_dim, shape.numel(), share_bias) for shape in self.shapes.values()]
        self.heads = nn.ModuleList(heads)
        generator = torch.Generator()
        generator.seed() if random_state is None else generator.manual_seed(random_state)
        with torch.no_grad():
            _default(self.hidden, generator) if init == "official" else _kaiming(self.hidden, generator)
            for head, (name, parameter) in zip(heads, extractor.named_parameters(), strict=True):
                _default(head, generator) if init == "official" else _hyperfan(head, name, parameter, generator)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """Return the extractor's parameters by name, from v of shape (embedding_dim,)."""
        z = torch.relu(self.hidden(embedding))
        return {name: head(z).view(shape) for head, (name, shape) in zip(self.heads, self.shapes.items(), strict=True)}


def _empty(columns: int, rows: int, bias: bool) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, columns, rows, bias=bias)  # type: ignore[no-untyped-call]
    return layer


def _kaiming(layer: nn.Linear, generator: torch.Generator) -> None:
    """For v of independent N(0, 1) entries: E ||ReLU(W v)||² is half of the sum of W's squares."""
    layer.weight.normal_(0, math.sqrt(2 * _LENGTH2 / layer.weight.numel()), generator=generator)
    layer.bias.zero_()


def _default(layer: nn.Linear, generator: torch.Generator) -> None:
    """What torch does by itself, from our generator."""
    bound = 1 / math.sqrt(layer.weight.shape[1])
    for parameter in layer.parameters():
        parameter.uniform_(-bound, bound, generator=generator)


def _hyperfan(head: nn.Linear, name: str, target: Tensor, generator: torch.Generator) -> None:
    if target.dim() > 1:
        variance = 2 / target[0].numel() / (1 if head.bias is None else 2)
        head.weight.normal_(0, math.sqrt(variance / _LENGTH2), generator=generator)
        if head.bias is not None:
            head.bias.normal_(0, math.sqrt(variance), generator=generator)
        return
    head.weight.zero_()
    if head.bias is not None:
        head.bias.zero_()
    constant = float(target[0])
    if constant and bool((target == constant).all()) and len(target) > 1:
        if head.bias is None:
            raise InvalidData(f"share_bias=False cannot begin {name!r} at {constant}: it has no bias to hold it")
        head.bias.fill_(constant)
