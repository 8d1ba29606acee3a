"""Fine-tuning over a slow link: machines share a random direction and exchange one byte for the slope along it.

For groups that hold private text and machines that can only run inference. Zelikman, Huang, Liang, Haber and Goodman,
"Just One Byte (per gradient)" (2023, arXiv 2306.10015), with a true byte, exact replay, and a private variant.
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {
    "Codec": "codecs",
    "DPZO": "private",
    "Directions": "randomness",
    "Header": "log",
    "Log": "log",
    "Record": "log",
    "Settings": "settings",
    "SharedRandomnessProtocol": "protocol",
    "SharedRandomnessTuner": "tuner",
    "TunedRun": "protocol",
    "causal_lm": "language",
    "decode_log8": "codecs",
    "encode_log8": "codecs",
    "LabelWordLoss": "language",
    "LastLayers": "language",
    "noise_multiplier_for": "private",
    "official_seed": "randomness",
    "read_records": "log",
}

__all__ = [
    "DPZO",
    "Codec",
    "Directions",
    "Header",
    "LabelWordLoss",
    "LastLayers",
    "Log",
    "Record",
    "Settings",
    "SharedRandomnessProtocol",
    "SharedRandomnessTuner",
    "TunedRun",
    "causal_lm",
    "decode_log8",
    "encode_log8",
    "noise_multiplier_for",
    "official_seed",
    "read_records",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="federation", heavy=("torch",))
