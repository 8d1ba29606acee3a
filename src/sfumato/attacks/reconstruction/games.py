"""AttributeGame: guess a person's secret bit, thrown as a coin, from synthetic rows.

For a team about to publish synthetic data. Annamalai, Gadotti and Rocher (USENIX Security 2024): since the bit is a
coin, what an attack finds is what the rows betray of the person and not what is true of the population.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from sfumato.attacks.reconstruction.baselines import AttributeAttack
from sfumato.attacks.reconstruction.encoding import read_bits
from sfumato.attacks.reconstruction.journal import GameJournal
from sfumato.attacks.reconstruction.report import GameReport, Mode, gather
from sfumato.attacks.reconstruction.targets import Generator
from sfumato.errors import InvalidData

_MOST_SAMPLES = 100  # tries to find a sample in which somebody is unique

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class AttributeGame:
    """Plays the attribute game against a generator.

    A repetition samples n people, throws coins for secrets, fits the generator, draws synthetic rows and hands them
    with the quasi-identifiers to each attack. "single_bit" throws one coin, for a person picked among those whose
    quasi-identifiers are unique in the sample: the published game. "all_bits" throws everybody's and asks for all
    unique people: many games from one fit, which share its synthetic rows.

    Parameters
    ----------
    generator : Generator
        Copied and fitted anew in each repetition.
    data : pandas.DataFrame
        People, categorical attributes and the secret.
    secret : str
        A column of 0 and 1.
    n : int, default 1000
        People in a sample.
    rows : int, default 10 000
        Synthetic rows.
    repetitions : int, default 500
    mode : {"single_bit", "all_bits"}
    random_state : int, optional
        Decides everything but noise that comes from the system.

    Raises
    ------
    InvalidData
        If a parameter is out of range, the secret is not binary, or data has fewer than n people or no other column.
    """

    generator: Generator
    data: pd.DataFrame
    secret: str
    n: int = 1000
    rows: int = 10_000
    repetitions: int = 500
    mode: Mode = "single_bit"
    random_state: int | None = None

    def __post_init__(self) -> None:
        for name in ("n", "rows", "repetitions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        if self.mode not in get_args(Mode):
            raise InvalidData("mode must be 'single_bit' or 'all_bits'")
        read_bits(self.data, self.secret)
        if len(self.data.columns) < 2:
            raise InvalidData("data needs quasi-identifiers beside the secret")
        if len(self.data) < self.n:
            raise InvalidData(f"data has fewer than n = {self.n} people")

    def run(
        self,
        attacks: Mapping[str, AttributeAttack] | AttributeAttack,
        *,
        n_jobs: int = 1,
        journal: str | Path | None = None,
    ) -> GameReport:
        """Play all repetitions.

        Parameters
        ----------
        attacks : mapping of str to attack, or an attack
            With ``fit(quasi)`` and ``score(synthetic, secret)``, as `ReconstructionAttack`. Each repetition has copies
            of its own, `random_state` set anew.
        n_jobs : int, default 1
            Repetitions at a time; the result does not depend on it.
        journal : str or Path, optional
            Keeps finished repetitions, so that the same call goes on after an interruption. Needs `random_state`.

        Raises
        ------
        InvalidData
            If nobody is unique by the quasi-identifiers in sample after sample, an attack's scores are not n numbers
            in [0, 1], or the journal is of another game.
        """
        named = dict(attacks) if isinstance(attacks, Mapping) else {type(attacks).__name__: attacks}
        if not named:
            raise InvalidData("attacks must hold at least one attack")
        if journal is not None and self.random_state is None:
            raise InvalidData("a journal needs random_state: otherwise it cannot go on with the same game")
        entropy = secrets.randbits(64) if self.random_state is None else self.random_state
        book = GameJournal(journal, self._identity(sorted(named)))
        todo = [i for i in range(self.repetitions) if i not in book.finished]
        played: Iterable[tuple[int, Record]] = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            delayed(_play)(self, named, entropy, i) for i in todo
        )
        for i, record in played:
            book.add(i, record)
        return self._report([book.finished[i] for i in range(self.repetitions)], list(named))

    def play(self, attacks: Mapping[str, AttributeAttack], seed: np.random.SeedSequence) -> Record:
        """Play one repetition: for each attack its bits, guesses, scores, and whether it was solved."""
        rng = np.random.default_rng(seed)
        people, targets = self._sample(rng)
        coins = rng.integers(2, size=len(people))
        bits = read_bits(people, self.secret)
        thrown = targets if self.mode == "single_bit" else np.arange(len(people))
        bits[thrown] = coins[thrown]
        people[self.secret] = bits
        generator = _fresh(self.generator, rng)
        generator.fit(people)
        synthetic = generator.sample(self.rows)
        quasi = people.drop(columns=self.secret)
        record = {}
        for name, attack in attacks.items():
            own = _fresh(attack, rng)
            own.fit(quasi.copy())
            scores = _checked(own.score(synthetic.copy(), self.secret), len(people), name)[targets]
            solved = bool(getattr(own, "solved_", True))
            guesses = (scores >= 0.5).astype(int) if solved else rng.integers(2, size=len(targets))
            record[name] = {
                "bits": bits[targets].tolist(),
                "guesses": guesses.tolist(),
                "scores": scores.tolist(),
                "solved": solved,
            }
        return record

    def _sample(self, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
        """People, numbered anew, and those among them whose bits are asked for."""
        for _ in range(_MOST_SAMPLES):
            people = self.data.iloc[rng.permutation(len(self.data))[: self.n]].reset_index(drop=True)
            unique = np.flatnonzero(~people.drop(columns=self.secret).duplicated(keep=False).to_numpy())
            if len(unique):
                return people, unique if self.mode == "all_bits" else rng.choice(unique, 1)
        raise InvalidData(f"no target: nobody has unique quasi-identifiers in {_MOST_SAMPLES} samples")

    def _identity(self, attacks: list[str]) -> dict[str, Any]:
        # The number of repetitions is not part of it: a finished game may be prolonged.
        return {
            "n": self.n,
            "rows": self.rows,
            "mode": self.mode,
            "secret": self.secret,
            "random_state": self.random_state,
            "attacks": attacks,
            "generator": type(self.generator).__name__,
            "claim": self.generator.claim.to_json(),
            "data": list(self.data.shape),
        }

    def _report(self, records: list[Record], names: list[str]) -> GameReport:
        outcomes = {}
        for name in names:
            own = [each[name] for each in records]
            outcomes[name] = gather(name, own, sum(not each["solved"] for each in own))
        return GameReport(self.generator.claim, self.mode, self.n, self.rows, self.repetitions, outcomes)


def _play(
    game: AttributeGame, attacks: Mapping[str, AttributeAttack], entropy: int, repetition: int
) -> tuple[int, Record]:
    return repetition, game.play(attacks, np.random.SeedSequence([entropy, repetition]))


def _fresh(player: Any, rng: np.random.Generator) -> Any:
    """A copy with randomness of its own: one seed for all repetitions would make them one."""
    own = copy.deepcopy(player)
    seeds = rng.integers(2**31, size=2).tolist()
    if hasattr(own, "random_state"):
        own.random_state = seeds[0]
    if getattr(own, "noise_seed", None) is not None:
        own.noise_seed = seeds[1]
    return own


def _checked(scores: Any, n: int, attack: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (n,) or not ((values >= 0) & (values <= 1)).all():
        raise InvalidData(f"the attack {attack!r} must score all {n} people in [0, 1]")
    return values
