"""Sound variants of study 46 at equal ε: records protected in training, or whole silos by randomized or summed votes.

On scikit-learn's digits, for gradients of a convolution record by record are slow on a CPU. The paper (Vallapuram et
al. 2022) promises nothing formal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.data.splits import split_evenly
from sfumato.privacy.bounds import ApproxDP
from sfumato.studies.study import Row

DELTA = 1e-4
_OPEN_BITS = 64
_MANY, _LONG = 150, 10  # silos of about ten records, and epochs of theirs

Silos = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Bench:
    """Digits among silos, and the fits that are compared.

    Attributes
    ----------
    x, y : ndarray
    network : callable
    rounds, seeds, seed : int
    """

    x: Any
    y: Any
    network: Callable[[], Any]
    rounds: int
    seeds: int
    seed: int

    def silos(self, parties: int, seed: int) -> tuple[Silos, Silos]:
        """Each silo's records, and a fifth of them held out."""
        rng = np.random.default_rng([seed, 5])
        train, held_out = [], []
        for part in split_evenly(len(self.x), parties, random_state=seed):
            order = rng.permutation(part)
            cut = len(order) // 5
            held_out.append((self.x[order[:cut]], self.y[order[:cut]]))
            train.append((self.x[order[cut:]], self.y[order[cut:]]))
        return train, held_out

    def fitted(self, parties: int, seed: int, **change: Any) -> dict[str, float]:
        """The last row of a fit's history."""
        from sfumato.federation.supermask import SignSupermask

        train, held_out = self.silos(parties, seed)
        given = {"rounds": self.rounds, "local_epochs": 3, "random_state": seed, **change}
        model = SignSupermask(self.network(), 10, **given).fit(train, validation=held_out)
        return dict(model.history_[-1])

    def accuracies(self, parties: int, **change: Any) -> Any:
        """Global and personal accuracy of each seed, shape (seeds, 2)."""
        runs = [self.fitted(parties, self.seed + k, **change) for k in range(self.seeds)]
        return np.array([[each["global_accuracy"], each["personal_accuracy"]] for each in runs])


def protected_rows(bench: Bench, parties: Sequence[int], epsilons: Sequence[float]) -> Iterator[Row]:
    """The three variants, at equal ε over all rounds."""
    for number in parties:
        plain = bench.accuracies(number)
        alone = bench.accuracies(number, rounds=1, local_epochs=3 * bench.rounds)
        yield Row(
            f"8 x 8 digits, IID, {number} silos of {0.8 * len(bench.x) / number:.0f} records, nothing promised, "
            f"{bench.rounds} rounds: accuracy of the global model / of each silo's own; of one that "
            "trains as long alone",
            "not found",
            f"{_told(plain)}; {alone[:, 1].mean():.1%}",
        )
        for epsilon in epsilons:
            yield _compared(bench, number, epsilon)


def _compared(bench: Bench, parties: int, epsilon: float) -> Row:
    claim = ApproxDP(epsilon, DELTA)
    records = bench.accuracies(parties, claim=claim, sampling_rate=0.5, private_steps=6)
    opened = bench.accuracies(parties, claim=claim, unit="silo", bits_per_round=_OPEN_BITS)
    summed = bench.accuracies(parties, claim=claim, unit="silo", honest=parties)
    lead = records[:, 0] - np.maximum(opened[:, 0], summed[:, 0])
    sure = None
    if len(lead) > 1:
        from scipy import stats

        low = lead.mean() - stats.t.ppf(0.975, len(lead) - 1) * lead.std(ddof=1) / np.sqrt(len(lead))
        sure = bool(low > 0)
    return Row(
        f"{parties} silos, ε = {epsilon:g}, δ = {DELTA:g} over all rounds, {len(lead)} seeds: (a) each record "
        f"protected; (b) each silo, by {_OPEN_BITS} randomized votes a round; (c) each silo, all votes in a noisy "
        "secure sum: global / own (in (b) and (c) a silo's own model has no noise, stays there and is not covered)",
        "no formal privacy in the paper; (a) the only useful one with few silos (our notes)",
        f"(a) {_told(records)}; (b) {_told(opened)}; (c) {_told(summed)}",
        sure,
    )


def many_silos_row(bench: Bench, epsilons: Sequence[float]) -> Row:
    """Where summed votes begin to carry: the sum is added up in the open here, which has the same law."""
    said = [f"{_global_of_many(bench, 1e6, 1):.1%} with next to no noise"]
    for epsilon in epsilons:
        found = [_global_of_many(bench, epsilon, rounds) for rounds in (1, 3)]
        said.append(f"{found[0]:.1%} and {found[1]:.1%} at ε = {epsilon:g}")
    return Row(
        f"(c) with {_MANY} silos of {0.8 * len(bench.x) / _MANY:.0f} records, {_LONG} epochs a round: global accuracy "
        f"after one round and after three, {bench.seeds} seeds (one round without noise)",
        "not found",
        "; ".join(said),
    )


def _global_of_many(bench: Bench, epsilon: float, rounds: int) -> float:
    import torch

    from sfumato.federation import InProcess
    from sfumato.federation.secure_sum import OpenlySummed
    from sfumato.federation.supermask import SignSupermask, SupermaskVotes, make_ballot
    from sfumato.federation.supermask.evaluation import predicted

    found = []
    for seed in range(bench.seed, bench.seed + bench.seeds):
        train, held_out = bench.silos(_MANY, seed)
        given = {"rounds": rounds, "local_epochs": _LONG, "random_state": seed}
        base: Any = SignSupermask(bench.network(), 10, **given).protocol(bench.x.shape[1:])
        sub = base.subnetwork
        votes = SupermaskVotes(base, make_ballot(ApproxDP(epsilon, DELTA), sub.kept, rounds, _MANY))
        signs = InProcess().run(OpenlySummed(votes), train).result
        x, y = (np.concatenate(each) for each in zip(*held_out, strict=True))
        right = predicted(sub, sub.values * torch.from_numpy(signs), torch.from_numpy(x)) == y
        found.append(right.mean())
    return float(np.mean(found))


def _told(accuracies: Any) -> str:
    overall, own = accuracies.mean(axis=0)
    return f"{overall:.1%} / {own:.1%}"
