"""SumComputation: a federated computation whose server needs, each round, the sum of one integer vector a silo.

For authors of systems: write the computation once, and `SecurelySummed` or `OpenlySummed` makes a protocol of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Protocol as Structural

import numpy as np
from numpy.typing import NDArray

from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields


class SumComputation(Structural):
    """What differs between computations by sums. The rules of `Protocol` hold: fields, purity, noise in a `Release`.

    Attributes
    ----------
    name : str
    version : int
    length : int
        Of the vectors, the same in every round.
    bound : int
        Largest absolute value of an entry. Clamp to it in `contribute`: a vector beyond it is refused, which shows.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def length(self) -> int: ...

    @property
    def bound(self) -> int: ...

    def config(self) -> Mapping[str, Any]:
        """Return all parameters as plain JSON values."""
        ...

    def start(self) -> Fields:
        """Return the server's state before the first sum."""
        ...

    def request(self, state: Message) -> Fields:
        """Return what every silo is told for the next sum. A function of the state alone."""
        ...

    def contribute(self, request: Message, memory: Message, data: Any) -> tuple[NDArray[np.int64], Fields]:
        """Return a silo's vector, and its memory for the next sum.

        Called once a sum, even if a message is repeated; but how many sums there are is the server's word, so what
        must not go on for ever is to be counted here. The memory stays even if the vector then misses its sum.
        """
        ...

    def absorb(self, state: Message, total: NDArray[np.int64], parties: tuple[int, ...]) -> Fields:
        """Return the state after a sum: `total` over the `parties` whose vectors arrived."""
        ...

    def finished(self, state: Message) -> bool:
        """Return whether no further sum is needed."""
        ...

    def result(self, state: Message) -> Any:
        """Return what the caller wants, from the last state."""
        ...
