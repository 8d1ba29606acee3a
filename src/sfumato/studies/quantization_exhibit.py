"""An exhibit for the museum: the ε of one coordinate, claimed for a whole gradient.

For `sfumato.studies.museum`. The curves of Youn et al. 2023 and of Chen et al. 2022 are Rényi divergences of one
coordinate in one round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sfumato.federation.quantization import RQM, QuantizedMean
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.studies.exhibit import Exhibit, Floats

_COORDINATES = 16
_NUMBER = RQM(1.0, 2.0, levels=4, keep_probability=0.3)  # ε = 1.05


def quantization() -> Iterator[Exhibit]:
    """Yield the exhibit."""
    up = np.ones(_COORDINATES)
    yield Exhibit(
        "coordinate-epsilon",
        "The ε of one coordinate, claimed for a whole gradient",
        "the curves of Youn et al. (arXiv 2306.11913), if they are taken for the client's guarantee (system 19)",
        Claim(PureDP(_NUMBER.epsilon_local()), unit="user", neighbours="replace-one", trust="local"),
        _whole,
        [(up, -up)],
        f"a gradient of {_COORDINATES} coordinates, all at the upper clip or all at the lower",
        "Each coordinate is reported with noise of its own, and all of them move when the client is replaced.",
        f"State the vector's (`QuantizedMean.claim`), {_COORDINATES} times as much; or report one coordinate.",
        _single,
    )


def _whole(gradient: Any, n: int, rng: np.random.Generator, /) -> Floats:
    mean = QuantizedMean(_NUMBER, _COORDINATES, "linf")
    reports = mean.encode(np.tile(gradient, (n, 1)))
    return np.asarray(reports.sum(axis=1, dtype=np.float64))


def _single(gradient: Any, n: int, rng: np.random.Generator, /) -> Floats:
    return np.asarray(_NUMBER.encode(np.full(n, gradient[0])), dtype=np.float64)
