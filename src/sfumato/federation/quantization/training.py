"""QuantizedTraining: federated SGD or FedAvg whose clients send nothing but quantised vectors into a sum.

For `SecurelySummed` and `OpenlySummed` of `sfumato.federation.secure_sum`. Youn et al. 2023, section 5; McMahan et al.
2017 (federated averaging).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.quantization.divergence import Floats
from sfumato.federation.quantization.softmax import SoftmaxRegression
from sfumato.federation.quantization.vector import QuantizedMean
from sfumato.federation.secure_sum import OpenlySummed, SecurelySummed
from sfumato.privacy.claim import Claim


class QuantizedTraining:
    """A computation by sums: each round every client quantises its gradient, and the server takes a step.

    *Who is protected, and why.* Neighbours replace one client's whole data set. A client's data enter its reports only,
    one vector a round; the weights that it is sent are made of earlier sums. So rounds compose adaptively, and their
    Rényi divergences add: `rounds` times that of one vector (`QuantizedMean`). The client counts its rounds itself, and
    refuses a round that it has reported in, an earlier one, or one beyond `rounds`, whatever the server says.

    With `honest`, the claim is about sums, each of at least `honest` honest clients: use `securely`, which sets the
    threshold of the secure sum accordingly. A round with fewer arrivals then has no sum, and `absorb` takes none of
    fewer. Without `honest` it is local, and `openly` may show each vector.

    No credit is taken for sampling clients: those bounds need other neighbours.

    Parameters
    ----------
    model : SoftmaxRegression
    mean : QuantizedMean
        Of vectors of `model.size`.
    rounds : int
    learning_rate : float
    honest : int, optional
    colluding : int
        Clients that may work with whoever sees the sums; a sum needs `honest + colluding` clients.
    local_steps : int
        1 sends the gradient. More sends the mean gradient along so many steps from the weights (FedAvg).

    Raises
    ------
    InvalidData
        If a parameter is out of range.

    Attributes
    ----------
    claim : Claim
        Of the whole training, for a client that takes part in every round.
    """

    name = "quantized-training"
    version = 1

    def __init__(
        self,
        model: SoftmaxRegression,
        mean: QuantizedMean,
        *,
        rounds: int,
        learning_rate: float,
        honest: int | None = None,
        colluding: int = 0,
        local_steps: int = 1,
    ) -> None:
        if mean.dimension != model.size:
            raise InvalidData(f"mean must be of vectors of the model's {model.size} weights, got {mean.dimension}")
        least = {"rounds": (rounds, 1), "local_steps": (local_steps, 1), "colluding": (colluding, 0)}
        if honest is not None:
            least["honest"] = (honest, 1)
        for name, (value, low) in least.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InvalidData(f"{name} must be an integer of at least {low}, got {value!r}")
        if not 0 < learning_rate < math.inf:
            raise InvalidData(f"learning_rate must be finite and above 0, got {learning_rate!r}")
        self.model = model
        self.mean = mean
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.honest = honest
        self.colluding = colluding
        self.local_steps = local_steps

    @property
    def claim(self) -> Claim:
        """What a client is promised about its data, over all rounds."""
        if self.honest is not None:
            return self.mean.aggregate_claim(self.honest, self.rounds)
        return self.mean.local_claim(self.rounds)

    @property
    def length(self) -> int:
        """Of the vectors that are summed."""
        return self.mean.size

    @property
    def bound(self) -> int:
        """Largest entry of a vector."""
        return self.mean.mechanism.outcomes - 1

    def securely(self, roster: Sequence[str]) -> SecurelySummed:
        """The protocol in which the server learns sums only, of at least `honest` honest clients.

        Raises
        ------
        InvalidData
            If `honest` is not given, or the roster has too few clients for it: a secure sum needs a threshold above
            half of the roster.
        """
        if self.honest is None:
            raise InvalidData("honest must be given: the claim of a sum counts the honest clients in it")
        least = self.honest + self.colluding
        if least > len(roster):
            raise InvalidData(f"{least} clients must arrive, and the roster has {len(roster)}")
        return SecurelySummed(self, roster, threshold=max(least, len(roster) // 2 + 1))

    def openly(self) -> OpenlySummed:
        """The protocol in which the server sees each client's vector: the local claim.

        Raises
        ------
        InvalidData
            If `honest` is given: what is promised of sums does not hold for vectors that are seen.
        """
        if self.honest is not None:
            raise InvalidData("honest must not be given: only the local claim holds where vectors are seen")
        return OpenlySummed(self)

    def config(self) -> dict[str, Any]:
        """Return all parameters."""
        return {
            "model": asdict(self.model),
            "mean": asdict(self.mean) | {"mechanism": self._mechanism()},
            "rounds": self.rounds,
            "learning_rate": self.learning_rate,
            "honest": self.honest,
            "colluding": self.colluding,
            "local_steps": self.local_steps,
        }

    def start(self) -> Fields:
        """Begin with weights of 0."""
        return {"round": 0, "weights": np.zeros(self.model.size)}

    def request(self, state: Message) -> Fields:
        """Send the weights."""
        return {"round": state["round"], "weights": state["weights"]}

    def contribute(self, request: Message, memory: Message, data: Any) -> tuple[NDArray[np.int64], Fields]:
        """Quantise this client's gradient, in a release of its own; `data` are rows and labels."""
        request.expect("round", "weights")
        number = request.integer("round", low=0, high=self.rounds - 1)
        weights = request.array("weights", dtype=np.float64, shape=(self.model.size,))
        if memory and number <= memory.integer("round", low=0, high=self.rounds - 1):
            raise ProtocolError("this client reports once a round, and in order")
        gradient = self.gradient(weights, data)
        reports = self.mean.encode(gradient[np.newaxis], honest=self.honest)[0]
        return reports.astype(np.int64), {"round": number}

    def gradient(self, weights: Floats, data: Any) -> Floats:
        """What a client reports, before clipping: the gradient, or the mean one of `local_steps` steps."""
        x, y = self.model.check(data)
        total, at = np.zeros(self.model.size), np.array(weights)
        for _ in range(self.local_steps):
            step = self.model.gradient(at, x, y)
            total += step
            at = at - self.learning_rate * step
        return total / self.local_steps

    def absorb(self, state: Message, total: NDArray[np.int64], parties: tuple[int, ...]) -> Fields:
        """Decode the mean and take a step.

        Raises
        ------
        TooFewParties
            If fewer clients arrived than the claim counts: their sum is not used.
        """
        least = 1 if self.honest is None else self.honest + self.colluding
        if len(parties) < least:
            raise TooFewParties(f"{len(parties)} clients arrived, and the claim counts {least}")
        gradient = self.mean.decode_sum(total, len(parties))
        number = state.integer("round", low=0, high=self.rounds)
        weights = state.array("weights", dtype=np.float64, shape=(self.model.size,))
        return {"round": number + 1, "weights": weights - self.learning_rate * gradient}

    def finished(self, state: Message) -> bool:
        """Whether all rounds are over."""
        return state["round"] == self.rounds

    def result(self, state: Message) -> Any:
        """Return the weights, shape (model.size,)."""
        return np.array(state["weights"])

    def _mechanism(self) -> dict[str, Any]:
        mechanism = self.mean.mechanism
        return {"kind": type(mechanism).__name__, **asdict(mechanism)}
