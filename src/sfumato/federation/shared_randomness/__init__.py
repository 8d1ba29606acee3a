"""Fine-tuning over a slow link: machines share a random direction and exchange one byte for the slope along it.

For groups that hold private text and machines that can only run inference. Zelikman, Huang, Liang, Haber and Goodman,
"Just One Byte (per gradient)" (2023, arXiv 2306.10015), with a true byte, exact replay, and a private variant.
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {
    "Codec": "codecs",
    "Directions": "randomness",
    "decode_log8": "codecs",
    "encode_log8": "codecs",
    "official_seed": "randomness",
}

__all__ = [
    "Codec",
    "Directions",
    "decode_log8",
    "encode_log8",
    "official_seed",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="federation", heavy=("torch",))
