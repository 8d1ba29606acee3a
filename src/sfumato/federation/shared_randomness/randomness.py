"""The directions that all machines draw alike: normal numbers addressed by step, machine, sample and place.

For `SharedRandomnessTuner`, after Zelikman et al. 2023 (arXiv 2306.10015). Their code joins the decimal digits of step,
sample and time to a seed, and different triples give the same digits; here each number has an address of its own.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData

Vector: TypeAlias = NDArray[np.float32]

#: What draws the numbers: Philox4x64-10 and NumPy's ziggurat in single precision.
GENERATOR = "philox4x64-ziggurat-f32"
#: Numbers that one counter draws in a row. Blocks are independent of one another, hence of the number of threads.
BLOCK = 1 << 18
_WORD = 1 << 64
_SEED = re.compile(r"[0-9a-f]{64}")
_PROBE = 1 << 16


def check_seed(run_seed: object) -> str:
    """Return a run's public seed, or say that it must be 64 hexadecimal digits."""
    if not isinstance(run_seed, str) or not _SEED.fullmatch(run_seed):
        raise InvalidData("run_seed must be text of 64 lowercase hexadecimal digits: secrets.token_hex(32)")
    return run_seed


@dataclass(frozen=True)
class Directions:
    """Directions z ~ N(0, I) of one run.

    The generator's 256 bits of counter hold step, sample and block, 64 bits each, above 64 bits that count within a
    block; its 128 bits of key are a hash of the run's seed and the machine. So no two numbers share an address, unless
    BLAKE2b collides.

    Parameters
    ----------
    run_seed : str
        Public: 64 hexadecimal digits, drawn once a run.
    threads : int
        That fill blocks; the numbers do not depend on it.

    Raises
    ------
    InvalidData
        If a parameter does not have that form.
    """

    run_seed: str
    threads: int = 1

    def __post_init__(self) -> None:
        check_seed(self.run_seed)
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise InvalidData("threads must be a whole number above 0")

    def address(self, step: int, machine: int, sample: int, block: int = 0) -> tuple[int, int]:
        """Return key and counter of a block, as whole numbers of 128 and 256 bits."""
        if min(step, machine, sample, block) < 0 or max(step, machine, sample, block) >= _WORD:
            raise InvalidData("step, machine, sample and block must fit 64 bits")
        return _key(self.run_seed, machine), (((step * _WORD) + sample) * _WORD + block) * _WORD

    def draw(self, step: int, machine: int, sample: int, size: int) -> Vector:
        """Return a direction, shape (size,)."""
        out = np.empty(size, np.float32)

        def fill(block: int, part: Vector) -> None:
            key, counter = self.address(step, machine, sample, block)
            np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(dtype=np.float32, out=part)

        parts = [out[start : start + BLOCK] for start in range(0, size, BLOCK)]
        if self.threads == 1 or len(parts) == 1:
            for block, part in enumerate(parts):
                fill(block, part)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(fill, count(), parts))
        return out


@lru_cache(maxsize=4096)
def _key(run_seed: str, machine: int) -> int:
    text = bytes.fromhex(run_seed) + machine.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16, person=b"sfumato-zo").digest(), "little")


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Hash of 65,536 numbers: machines whose NumPy draws differently find out before they begin."""
    return hashlib.sha256(Directions("0" * 64).draw(0, 0, 0, _PROBE).astype("<f4").tobytes()).hexdigest()[:16]


def official_seed(step: int, sample: int, microseconds: int) -> int:
    """The seed of the published code: decimal digits joined. Kept to show that it collides."""
    return int(f"{step}{sample:05d}{microseconds}")
