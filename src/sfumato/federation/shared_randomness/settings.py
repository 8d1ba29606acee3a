"""Settings: what all machines of a run agree on, apart from the model.

For `SharedRandomnessTuner` and its protocol; defaults are those of the published code of Zelikman et al. 2023 (arXiv
2306.10015), but for the learning rate, which is MeZO's (Malladi et al. 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sfumato.errors import InvalidData
from sfumato.federation.shared_randomness.codecs import Codec
from sfumato.federation.shared_randomness.randomness import check_seed

Average: TypeAlias = Literal["sqrt", "mean"]

LOG8 = Codec()


@dataclass(frozen=True)
class Settings:
    """What all machines of a run agree on, apart from the model.

    Parameters
    ----------
    run_seed : str
        Public: 64 hexadecimal digits, ``secrets.token_hex(32)``, drawn once a run.
    eps : float
        How far weights are moved along a direction, both ways.
    lr : float
        Step of the update. MeZO takes 1e-6 to 1e-7 for whole language models.
    samples_per_step : int
        S: scalars of a machine in a step.
    codec : Codec
    average : {"sqrt", "mean"}
        Whether an update's N scalars are divided by √N, as in the published code, or by N.
    trainable : str
        "all", or a regular expression of parameter names: ``"lora_"`` for adapters.
    seed_pool : int, optional
        K: scalars go along K directions, again and again, and not each along its own. Then weights cost K directions
        however long the log is, and a machine keeps K numbers instead of weights; but each step costs K directions,
        too, and weights stay in a space of K dimensions. FedKSeed takes 1,024 to 4,096.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    run_seed: str
    eps: float = 1e-3
    lr: float = 1e-6
    samples_per_step: int = 30
    codec: Codec = LOG8
    average: Average = "sqrt"
    trainable: str = "all"
    seed_pool: int | None = None

    def __post_init__(self) -> None:
        check_seed(self.run_seed)
        for name in ("eps", "lr"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InvalidData(f"{name} must be a finite number above 0, got {value!r}")
        for name in ("samples_per_step", "seed_pool"):
            count = getattr(self, name)
            if name == "seed_pool" and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1 << 20:
                raise InvalidData(f"{name} must be a whole number from 1 to 1048576, got {count!r}")
        if not isinstance(self.codec, Codec):
            raise InvalidData(f"codec must be a Codec, got {type(self.codec).__name__}")
        if self.average not in get_args(Average):
            raise InvalidData(f"average must be one of {', '.join(get_args(Average))}")

    @property
    def payload_length(self) -> int:
        """Bytes that a machine sends in a step."""
        return self.codec.length(self.samples_per_step)
