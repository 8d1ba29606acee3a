"""What a server holds after one round of real protocols: federated averaging and HyperFL, plain and with noise.

For the study of gradient inversion, where protection and attack meet: through arrays by name and a torch module.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.images import mnist5k
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

RATE, MOMENTUM, DECAY = 0.02, 0.5, 5e-4  # HyperFL's defaults
#: Below the norm of every update here, so that all are clipped: the most signal that noise for this norm lets through.
CLIP = 0.005


@dataclass(frozen=True, eq=False)
class Bench:
    """Images to attack, a gallery whose first ones they are, and the federation's networks.

    Attributes
    ----------
    gallery, labels : ndarray
        Images in [0, 1], shape (m, 1, height, width), and their labels.
    extractor : str
        Name of a network of `sfumato.federation.hypernetwork`.
    mean, std : float
        That images are standardised with.
    embedding, hidden : int
        Dimensions of the hypernetwork.
    seed : int
    """

    gallery: Images
    labels: Labels
    extractor: str
    mean: float
    std: float
    embedding: int
    hidden: int
    seed: int

    def silo(self, rows: Sequence[int]) -> tuple[Images, Labels]:
        """Data of a client that holds those images."""
        where = list(rows)
        return ((self.gallery[where] - self.mean) / self.std).astype(np.float32), self.labels[where]

    def known(self, rows: Sequence[int], **more: Any) -> dict[str, Any]:
        """What a server knows of each client."""
        shape = self.gallery.shape[1:]
        sgd = {"momentum": MOMENTUM, "weight_decay": DECAY}
        return {"shape": shape, "mean": [self.mean], "std": [self.std], "classes": 10, **sgd, **more}


def mnist_bench(seed: int, gallery: int = 1000) -> Bench:
    """1,000 MNIST digits in random order and HyperFL's network for them, at its own size."""
    images, labels = mnist5k()
    rows = np.random.default_rng(seed).permutation(len(images))[:gallery]
    return Bench(images[rows].reshape(-1, 1, 28, 28), labels[rows], "cnn-mnist", 0.1307, 0.3081, 64, 128, seed)


def digits_bench(seed: int, gallery: int = 200) -> Bench:
    """Digits of 8 x 8 pixels and a small network, for the smoke run."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(images))[:gallery]
    shaped = (images[rows] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return Bench(shaped, labels[rows].astype(np.int64), "cnn-digits", 0.305, 0.376, 8, 16, seed)


@dataclass(frozen=True, eq=False)
class Upload:
    """One client's round: the server's view, and what only the client knows.

    Attributes
    ----------
    view : View
    claim : Claim
    memory : mapping
        What stays in the silo.
    protocol : FederatedRounds
    """

    view: Any
    claim: Claim
    memory: Mapping[str, Any]
    protocol: Any


def averaged(bench: Bench, rows: Sequence[int], *, epochs: int = 1, bound: ApproxDP | None = None) -> Upload:
    """Federated averaging: a client trains the whole model; with `bound` its update is clipped and gets noise."""
    import torch
    from torch import nn

    from sfumato.attacks.gradient_inversion import View
    from sfumato.federation.hypernetwork import FederatedAveraging
    from sfumato.federation.hypernetwork.private import Privacy

    settings = {"rounds": 1, "local_epochs": epochs, "batch_size": len(rows), "random_state": bench.seed}
    protocol = FederatedAveraging(bench.extractor, 10, **settings).protocol()
    before, update, memory = _exchange(protocol, bench.silo(rows))
    claim = Claim(_plain(), unit="record", trust="silo")
    if bound is not None:
        privacy = Privacy(bound, "silo", CLIP, rounds=1, epochs=epochs)
        update = privacy.noisy_upload({name: torch.from_numpy(np.array(u)) for name, u in update.items()})
        claim = privacy.claim
    features = before["head/weight"].shape[1]
    model = nn.Sequential(OrderedDict(theta=protocol.work.extractor, head=nn.Linear(features, 10)))
    named = [{name.replace("/", ".", 1): np.asarray(a) for name, a in part.items()} for part in (before, update)]
    view = View(*named, model, "delta", RATE, epochs, len(rows), bench.known(rows))
    return Upload(view, claim, memory, protocol)


def hypernetwork(
    bench: Bench,
    rows: Sequence[int],
    *,
    client: int = 0,
    epochs: int = 1,
    batch: int | None = None,
    head_epochs: int = 0,
    hidden: int | None = None,
    bound: ApproxDP | None = None,
) -> Upload:
    """HyperFL: a client trains the hypernetwork; `client` is whose embedding it is.

    Without epochs of the classifier's own: one such fits a single image, and what is left of the gradient is rounding.
    """
    from sfumato.attacks.gradient_inversion import View
    from sfumato.federation.hypernetwork import HyperFL
    from sfumato.federation.hypernetwork.private import heuristic_claim

    size = len(rows) if batch is None else batch
    model = HyperFL(
        bench.extractor,
        10,
        embedding_dim=bench.embedding,
        hidden_dim=bench.hidden if hidden is None else hidden,
        rounds=1,
        local_epochs=epochs,
        head_epochs=head_epochs,
        batch_size=size,
        claim=bound,
        clip_norm=CLIP,
        embedding_seed=bench.seed,
        random_state=bench.seed,
    )
    protocol = model.protocol()
    before, update, memory = _exchange(protocol, bench.silo(rows), client)
    work: Any = protocol.work
    # The embedding's seed makes the study reproducible; no attack reads it.
    claim = heuristic_claim(None) if work.privacy is None else work.privacy.claim
    known = bench.known(rows, labels=bench.labels[list(rows)])
    steps = epochs * -(-len(rows) // size)
    view = View(before, update, work.extractor, "delta", RATE, steps, len(rows), known)
    return Upload(view, claim, memory, protocol)


def _exchange(protocol: Any, data: Any, client: int = 0) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]:
    """Weights before, update and memory of one client's first round."""
    from sfumato.federation.message import Message

    state = Message(protocol.start())
    request = Message(protocol.requests(state, (client,))[client])
    reply, memory = protocol.client_step(request, Message({}), data)
    names = [name for name in state if name != "round"]
    return {name: state[name] for name in names}, {name: reply[name] for name in names}, memory


def _plain() -> Any:
    from sfumato.privacy.bounds import Heuristic

    return Heuristic("updates are uploaded as they are: nothing is promised")
