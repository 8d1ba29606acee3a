"""The directions that all machines draw alike: normal numbers addressed by step, machine, sample and place.

For `SharedRandomnessTuner`, after Zelikman et al. 2023 (arXiv 2306.10015). Their code joins the decimal digits of step,
sample and time to a seed, and different triples give the same digits; here each number has an address of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray
from scipy.special import ndtri

from sfumato.errors import InvalidData

Vector: TypeAlias = NDArray[np.float32]
Address: TypeAlias = tuple[int, int, int]  # step, machine, sample

#: What draws the numbers: ChaCha20, and a table of 65,536 quantiles of the normal distribution.
GENERATOR = "chacha20-quantiles16"
#: Numbers that are drawn at once, and stay in a core's cache. Blocks are independent of one another, hence of threads.
BLOCK = 1 << 16
_LEVELS = 1 << 16
_GRID = 1 << 12
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
    """Directions z of one run: independent numbers, normal but for rounding.

    A direction's key is a hash of the run's seed, step, machine and sample, at fixed places; a block of it has a nonce
    of its own. So no two numbers share an address, unless BLAKE2b collides. Two bytes of ChaCha20 choose among 65,536
    equally likely values: the normal distribution's quantiles, to the nearest 1/4096. They are symmetric, of variance
    0.99998 and at most 4.33 in size: E[zz'] is a multiple of the identity, which is what a slope's estimate needs.
    Neither a processor's logarithm nor a library's version enters, so the numbers are the same everywhere.

    Parameters
    ----------
    run_seed : str
        Public: 64 hexadecimal digits, drawn once a run.
    threads : int
        That work on blocks; the numbers do not depend on it.

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

    def key(self, step: int, machine: int, sample: int) -> bytes:
        """Return the key of a direction, 32 bytes."""
        if min(step, machine, sample) < 0 or max(step, machine, sample) >= _WORD:
            raise InvalidData("step, machine and sample must fit 64 bits")
        address = b"".join(part.to_bytes(8, "little") for part in (step, machine, sample))
        text = bytes.fromhex(self.run_seed) + address
        return hashlib.blake2b(text, digest_size=32, person=b"sfumato-zo").digest()

    def draw(self, step: int, machine: int, sample: int, size: int) -> Vector:
        """Return a direction, shape (size,)."""
        out = np.empty(size, np.float32)
        key = self.key(step, machine, sample)

        def fill(block: int, part: Vector) -> None:
            part[:] = _numbers(key, block, len(part))

        self._for_each_block(out, fill)
        return out

    def subtract(self, weights: Vector, moves: Sequence[tuple[Address, float]]) -> None:
        """Subtract moves, a direction times a length each, one after the other.

        NumPy multiplies, rounds, subtracts, rounds: torch may fuse the two, and then machines would differ. A block of
        weights makes all moves while it is in the cache.
        """
        known = [(self.key(*address), np.float32(length)) for address, length in moves]

        def move(block: int, part: Vector) -> None:
            for key, length in known:
                z = _numbers(key, block, len(part))
                z *= length
                part -= z

        self._for_each_block(weights, move)

    def _for_each_block(self, vector: Vector, work: Callable[[int, Vector], None]) -> None:
        parts = [vector[start : start + BLOCK] for start in range(0, len(vector), BLOCK)]
        if self.threads == 1 or len(parts) < 2:
            for block, part in enumerate(parts):
                work(block, part)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, range(len(parts)), parts))


def _numbers(key: bytes, block: int, size: int) -> Vector:
    """Numbers of one block, shape (size,)."""
    # The first 4 of the nonce's 16 bytes count within a block.
    cipher = Cipher(ChaCha20(key, bytes(4) + block.to_bytes(12, "little")), mode=None).encryptor()
    codes = np.frombuffer(cipher.update(bytes(2 * size)), "<u2")
    return normal_quantiles().take(codes, mode="clip")  # nothing is clipped; NumPy's check of indices is saved


@lru_cache(maxsize=1)
def normal_quantiles() -> Vector:
    """The values of a number, in increasing order, shape (65536,).

    No quantile is nearer than 1e-5 of the grid's cells to the middle between two, so a library's last bits do not
    matter.
    """
    quantiles = ndtri((np.arange(_LEVELS) + 0.5) / _LEVELS)
    table: Vector = (np.rint(quantiles * _GRID) / _GRID).astype(np.float32)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Hash of 65,536 numbers: machines that draw differently find out before they begin."""
    return hashlib.sha256(Directions("0" * 64).draw(0, 0, 0, _PROBE).astype("<f4").tobytes()).hexdigest()[:16]


def official_seed(step: int, sample: int, microseconds: int) -> int:
    """The seed of the published code: decimal digits joined. Kept to show that it collides."""
    return int(f"{step}{sample:05d}{microseconds}")
