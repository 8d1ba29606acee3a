"""Study of system 18: what privacy costs a federation of bandits, and what three published shortcuts give away.

Zhou and Ray Chowdhury, "On Differentially Private Federated Linear Contextual Bandits" (ICLR 2024, arXiv 2302.13945).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sfumato.attacks.transcripts import transcript_attack
from sfumato.data.splits import split_by_label
from sfumato.federation.bandits import (
    CentralJDP,
    Design,
    FedLinUCB,
    LinearArms,
    LinearContexts,
    NoPrivacy,
    Regret,
    SecureSumDP,
    ShuffleAmplified,
    ShuffleVectorSum,
    SiloLDP,
    TreePrefixSum,
    simulate,
)
from sfumato.federation.bandits.confidence import Confidence
from sfumato.federation.bandits.contributions import Floats, pack, unpack
from sfumato.federation.bandits.determinant import DeterminantFedLinUCB
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim
from sfumato.studies.study import Row, Scale, Study, StudyResult

DELTA = 1e-5
_NOISE = 0.25


@dataclass(frozen=True)
class _Size:
    horizon: int
    seeds: int
    silos: tuple[int, ...]  # of the comparison by ε
    slope: tuple[int, ...]  # silos of the slope test
    budgets: tuple[float, ...]
    games: int
    largest: int  # users of each of 100 silos in the timed run


_SCALES: dict[Scale, _Size] = {
    "smoke": _Size(400, 1, (5,), (4, 32), (2.0,), 60, 0),
    "small": _Size(1500, 2, (5, 20, 100), (4, 16, 64), (0.5, 2.0, 10.0), 400, 1000),
    "full": _Size(10_000, 25, (5, 20, 100), (4, 8, 16, 32, 64), (0.5, 2.0, 10.0), 2000, 10_000),
}


def run(scale: Scale, seed: int) -> StudyResult:
    """Run the study at a scale."""
    began = time.monotonic()
    size = _SCALES[scale]
    seeds = range(seed, seed + size.seeds)
    rows = [*_by_budget(size, seeds), _slopes(size, seeds), *_noise_as_published(size, seeds), *_bits()]
    rows += [*_flaws(size, seeds), _steering(size), *_digits(size, seeds)]
    if size.largest:
        rows.append(_timed(size.largest, seed))
    return StudyResult(rows, scale, time.monotonic() - began, {"regret": _figure(size, seeds)})


def _regret(mechanism: Any, silos: int, horizon: int, seeds: range, **options: Any) -> Regret:
    options = {"exploration": 0.1, **options}
    environment = options.pop("environment", LinearContexts)
    d, arms = options.pop("d", 6), options.pop("arms", 20)
    return simulate(
        lambda seed: environment.random(d, arms, seed, noise=_NOISE),
        lambda seed: FedLinUCB(
            d, silos=silos, horizon=horizon, mechanism=mechanism, reward_noise=_NOISE, noise_seed=seed, **options
        ),
        silos=silos,
        horizon=horizon,
        seeds=seeds,
    )


def _told(regret: Regret) -> str:
    return f"{regret.per_silo:.1f}" + ("" if math.isnan(regret.stderr) else f" ± {regret.stderr:.1f}")


def _by_budget(size: _Size, seeds: range) -> list[Row]:
    rows = []
    for epsilon in size.budgets:
        told, ratios = [], []
        for silos in size.silos:
            local, summed, mixed = (
                _regret(mechanism, silos, size.horizon, seeds)
                for mechanism in (
                    SiloLDP(epsilon, DELTA),
                    SecureSumDP(epsilon, DELTA),
                    ShuffleVectorSum(epsilon, DELTA, simulate=True),
                )
            )
            ratios.append(local.per_silo / summed.per_silo)
            told.append(
                f"M = {silos}: silo-LDP {_told(local)}, secure sum {_told(summed)}, vector sum {_told(mixed)}, "
                f"ratio {ratios[-1]:.2f}"
            )
        enough = all(ratio >= silos**0.125 for ratio, silos in zip(ratios, size.silos, strict=True))
        rows.append(
            Row(
                f"regret a silo, ε = {epsilon:g}, δ = 1e-5, T = {size.horizon}, K = 20, d = 6, exploration 0.1; "
                f"{size.seeds} seeds, ± one s.e.",
                "figure 2b: aggregated noise beats silo noise (order only); ours: ratio at least M^(1/8), growing in M",
                "; ".join(told),
                enough and all(a < b for a, b in itertools.pairwise(ratios)),
            )
        )
    rows.append(_beside(size, seeds))
    return rows


def _beside(size: _Size, seeds: range) -> Row:
    silos = size.silos[min(1, len(size.silos) - 1)]
    runs = {
        "steered by synchronised statistics": _regret(NoPrivacy(), silos, size.horizon, seeds),
        "steered by local ones too": _regret(NoPrivacy(), silos, size.horizon, seeds, steering="local"),
        "every silo alone": _regret(NoPrivacy(), silos, size.horizon, seeds, steering="local", batch=size.horizon),
        "trusted server, ε = 2": _regret(CentralJDP(2.0, DELTA), silos, size.horizon, seeds),
    }
    told = ", ".join(f"{name} {_told(regret)}" for name, regret in runs.items())
    return Row(f"regret a silo without privacy, and baselines, M = {silos}", "not found", told)


def _slopes(size: _Size, seeds: range) -> Row:
    found = {}
    for name, mechanism in (("silo-LDP", SiloLDP(1.0, DELTA)), ("secure sum", SecureSumDP(1.0, DELTA))):
        totals = [
            silos * _regret(mechanism, silos, size.horizon, seeds, arms=10, exploration=1.0).per_silo
            for silos in size.slope
        ]
        found[name] = float(np.polyfit(np.log(size.slope), np.log(totals), 1)[0])
    difference = found["silo-LDP"] - found["secure sum"]
    return Row(
        f"slope of log total regret in log M, M = {', '.join(map(str, size.slope))}, ε = 1, exploration 1",
        "3/4 for silo-LDP, 1/2 for aggregated noise: a difference of 1/4; ours: at least 0.15",
        f"silo-LDP {found['silo-LDP']:.2f}, secure sum {found['secure sum']:.2f}, difference {difference:.2f}",
        difference >= 0.15 if size.seeds > 1 else None,
    )


def _noise_as_published(size: _Size, seeds: range) -> list[Row]:
    silos, rows = 100 if size.seeds > 1 else 10, []
    horizon = min(size.horizon, 500)
    for epsilon in (1e-4, 1e-3):
        shuffled = _regret(ShuffleAmplified(epsilon, 1e-4, unchecked=True), silos, horizon, seeds)
        local = _regret(SiloLDP(epsilon, 1e-4), silos, horizon, seeds)
        rows.append(
            Row(
                f"figure 2a: noise of the official code, no valid claim, ε = {epsilon:g}, δ = 1e-4, M = {silos}, "
                f"T = {horizon}",
                "shuffled noise beats silo-LDP (values not found)",
                f"shuffled {_told(shuffled)}, silo-LDP (calibrated) {_told(local)}",
                shuffled.per_silo < local.per_silo if size.seeds > 1 else None,
            )
        )
    return rows


def _bits() -> list[Row]:
    design = Design(10, 100, 25, 25)  # one node of 2500 users
    told, least = [], math.inf
    for epsilon in (0.5, 2.0):
        numeric = ShuffleVectorSum(epsilon, DELTA).encoding(design)
        theorem = ShuffleVectorSum(epsilon, DELTA, "theorem").encoding(design)
        least = min(least, theorem.noise_bits[0] / numeric.noise_bits[0])
        told.append(
            f"ε = {epsilon:g}: {theorem.noise_bits[0]:.2g} by the theorem, {numeric.noise_bits[0]:,} in numbers"
        )
    return [
        Row(
            "noise bits a user and coordinate, one node of 2500 users, d = 10",
            "about 1e10 at ε = 0.2 by the theorem (our card); ours: at least 100 times fewer in numbers",
            "; ".join(told),
            least >= 100,
        )
    ]


def _older(silos: int, horizon: int, epsilon: float, **options: Any) -> Callable[[int], DeterminantFedLinUCB]:
    return lambda seed: DeterminantFedLinUCB(
        options.get("d", 6),
        silos=silos,
        horizon=horizon,
        mechanism=SiloLDP(epsilon, DELTA),
        threshold=options.get("threshold", 1.0),
        exploration=0.1,
        reward_noise=_NOISE,
        noise_seed=seed,
    )


def _times(make: Callable[[], Any], horizon: int) -> Callable[[Floats], tuple[int, ...]]:
    def transcript(first: Floats) -> tuple[int, ...]:
        learner, times = make(), []
        for step in range(horizon):
            learner.observe_all(np.stack([first if step == 0 else np.eye(2)[0], np.zeros(2)]), np.zeros(2))
            if learner.sync_due(0):
                times.append(step)
                learner.sync()
        return tuple(times)

    return transcript


def _flaws(size: _Size, seeds: range) -> list[Row]:
    claim = Claim(ApproxDP(2.0, DELTA), unit="record", neighbours="replace-one", trust="silo")
    regulariser = _older(2, 30, 2.0, d=2)(0).confidence.regulariser
    threshold = 10 * math.log1p(9.5 / regulariser)  # ten users of one kind are just enough
    pair = (np.eye(2)[0], np.zeros(2))
    older = _times(lambda: _older(2, 30, 2.0, d=2, threshold=threshold)(0), 30)
    ours = _times(lambda: FedLinUCB(2, silos=2, horizon=30, batch=5, mechanism=SiloLDP(2.0, DELTA)), 30)
    seen = transcript_attack(older, pair, claim, games=size.games, random_state=0)
    fixed = transcript_attack(ours, pair, claim, games=size.games, random_state=0)
    allowed = claim.delta_at(0.0)
    silos, horizon = 100, min(size.horizon, 500)
    runs = simulate(
        lambda seed: LinearContexts.random(6, 20, seed, noise=_NOISE),
        _older(silos, horizon, 10.0),
        silos=silos,
        horizon=horizon,
        seeds=seeds,
    )
    sound = _regret(SiloLDP(10.0, DELTA), silos, horizon, seeds)
    beyond = _beyond(_older(silos, horizon, 10.0)(0).confidence.gamma, Design(6, silos, horizon, 1), 10.0)
    return [
        Row(
            "flaw (i): two data sets that differ in one user, told apart by the times of messages",
            "the determinant schedule is no function of released data (abstract); ours: advantage at least 0.9",
            f"determinant schedule {seen.value:.2f}, fixed batches {fixed.value:.2f} (ε = 2 allows {allowed:.2f})",
            seen.value >= 0.9 and fixed.interval[0] <= allowed,
        ),
        Row(
            f"flaw (ii): share of prefixes whose noise is beyond the bound on its norm, {silos} silos, ε = 10",
            "the noise of all silos adds up and was counted as one's; allowed: 1 % of runs",
            f"{beyond[0]:.0%} beyond the published bound, {beyond[1]:.0%} beyond ours; regret a silo, with the smaller "
            f"radius of no valid bound, {_told(runs)}; ours {_told(sound)}",
            beyond[0] > 0.01 >= beyond[1],
        ),
        _rounds(size, seeds),
    ]


def _beyond(published: float, design: Design, epsilon: float) -> tuple[float, float]:
    """Share of a run's prefixes whose Gram matrix's noise is beyond the published γ, and beyond ours."""
    fitted = SiloLDP(epsilon, DELTA).calibrate(design)
    ours = Confidence(design, fitted.sigma_total).gamma
    tree = TreePrefixSum(fitted)
    nothing = np.zeros((design.silos, design.length))
    norms = [np.linalg.norm(unpack(tree.push(nothing), design.n_features)[0], 2) for _ in range(design.batches)]
    return float(np.mean(np.array(norms) > published)), float(np.mean(np.array(norms) > ours))


def _rounds(size: _Size, seeds: range) -> Row:
    told = []
    for epsilon in (2.0, 10.0):
        horizon = min(size.horizon, 1000)
        learners: list[DeterminantFedLinUCB] = []

        def kept(seed: int, epsilon: float = epsilon, horizon: int = horizon, into: Any = learners) -> Any:
            into.append(_older(5, horizon, epsilon)(seed))
            return into[-1]

        simulate(lambda s: LinearContexts.random(6, 20, s, noise=_NOISE), kept, silos=5, horizon=horizon, seeds=seeds)
        told.append(f"ε = {epsilon:g}: {np.mean([len(each.times_) for each in learners]):.0f}")
    return Row(
        f"flaw (iii): synchronisations of the older algorithm in {horizon} steps, M = 5",
        "its bound holds without noise only; with fixed batches of 25 there are T/25",
        "; ".join(told) + f"; fixed: {horizon // 25}",
    )


def steered_node(reward: float, steering: Any, batch: int = 25) -> Floats:
    """What a silo's first batch adds up to when its first user brings that reward, and all later ones bring 1."""
    learner = FedLinUCB(2, silos=1, horizon=batch, batch=batch, mechanism=NoPrivacy(), steering=steering,
                        exploration=0.1, reward_noise=_NOISE)  # fmt: skip
    gram, bias = np.zeros((2, 2)), np.zeros(2)
    for step in range(batch):
        phi = np.eye(2)[learner.act(0, np.eye(2))]
        y = reward if step == 0 else 1.0
        learner.observe(0, phi, y)
        gram, bias = gram + np.outer(phi, phi), bias + y * phi
    return pack(gram, bias)


def _steering(size: _Size) -> Row:
    fitted = SiloLDP(1.0, DELTA).calibrate(Design(2, 1, 25, 25))
    rng, told, seen = np.random.default_rng(0), [], {}
    for steering in ("local", "synced"):
        nodes = steered_node(1.0, steering), steered_node(-1.0, steering)
        direction = nodes[0] - nodes[1]
        cut = float((nodes[0] + nodes[1]) @ direction) / 2

        def side(node: Floats, direction: Floats = direction, cut: float = cut) -> bool:
            noisy = node + fitted.sigma * rng.normal(size=len(node))  # the attacker's model of the mechanism
            return bool(noisy @ direction > cut)

        evidence = transcript_attack(side, nodes, fitted.claim, games=size.games, random_state=0)
        seen[steering] = evidence
        told.append(
            f"{steering}: node moves by {np.linalg.norm(direction):.1f}, advantage {evidence.value:.2f} "
            f"({evidence.verdict})"
        )
    return Row(
        "a fourth flaw, in the paper's own algorithm: one user steers the later users of the batch by raw statistics; "
        "silo-LDP, ε = 1, B = 25",
        f"not in the paper, which counts one contribution: at most {fitted.design.sensitivity:.2f}, an advantage of "
        f"{fitted.claim.delta_at(0.0):.2f}",
        "; ".join(told),
        seen["local"].verdict == "falsified" and seen["synced"].verdict != "falsified",
    )


class _Digits:
    """Users are images of digits, an action is a guess, and a right one brings 1."""

    def __init__(self, silos: int, seed: int) -> None:
        images, labels = load_digits(return_X_y=True)
        public, private = slice(0, 297), slice(297, None)  # the first are a public sample: scaling, PCA, class means
        pca = PCA(10, random_state=0).fit(images[public])
        points = pca.transform(images)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        means = np.array([points[public][labels[public] == c].mean(axis=0) for c in range(10)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        features = points[:, np.newaxis, :] * means
        features /= np.linalg.norm(features[public], axis=2).max()
        features /= np.maximum(np.linalg.norm(features, axis=2, keepdims=True), 1.0)
        self.features, self.labels = features[private], labels[private]
        self.pools = split_by_label(self.labels, silos, random_state=seed)

    def users(self, silos: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        chosen = np.array([rng.choice(pool) for pool in self.pools])
        return self.features[chosen], np.eye(10)[self.labels[chosen]]

    def rewards(self, means: Floats, rng: np.random.Generator) -> Floats:
        return means


def _guessing(mechanism: Any, horizon: int, seeds: range) -> Regret:
    options: dict[str, Any] = {"exploration": 0.1, "reward_noise": 0.5, "theta_bound": 4.0}
    return simulate(
        lambda seed: _Digits(10, seed),
        lambda seed: FedLinUCB(10, silos=10, horizon=horizon, mechanism=mechanism, noise_seed=seed, **options),
        silos=10,
        horizon=horizon,
        seeds=seeds,
    )


def _digits(size: _Size, seeds: range) -> list[Row]:
    horizon = size.horizon
    mechanisms = {f"ε = {e:g}": SiloLDP(e, DELTA) for e in (0.2, 1.0, 5.0)} | {"no privacy": NoPrivacy()}
    regrets = {name: _guessing(mechanism, horizon, seeds) for name, mechanism in mechanisms.items()}
    shares = [regret.per_silo / horizon for regret in regrets.values()]
    return [
        Row(
            f"digits bandit, d = 10, 10 silos with labels of their own mix, T = {horizon} users drawn again and again: "
            "share of wrong guesses",
            "figure 2c, on MSLR-WEB10K: regret falls as ε goes 0.2, 1, 5, no privacy (values not found)",
            ", ".join(f"{name} {share:.3f}" for name, share in zip(regrets, shares, strict=True)),
            all(a > b for a, b in itertools.pairwise(shares)),
        )
    ]


def _timed(horizon: int, seed: int) -> Row:
    began = time.monotonic()
    told = _regret(
        SecureSumDP(1.0, DELTA), 100, horizon, range(seed, seed + 1), d=10, arms=100, environment=LinearArms
    ).per_silo
    return Row(
        f"M = 100 silos, T = {horizon}, K = 100 fixed actions, d = 10",
        "our card: T = 10,000 in under 5 minutes",
        f"{time.monotonic() - began:.0f} s, regret a silo {told:.0f}",
        (time.monotonic() - began) * 10_000 / horizon < 300,
    )


def _figure(size: _Size, seeds: range) -> Any:
    from matplotlib.figure import Figure

    silos, horizon = size.silos[min(1, len(size.silos) - 1)], min(size.horizon, 3000)
    curves: dict[str, tuple[Floats, str]] = {
        "no privacy": (_regret(NoPrivacy(), silos, horizon, seeds, steering="local").curves, "-"),
        "secure sum, ε = 2": (_regret(SecureSumDP(2.0, DELTA), silos, horizon, seeds).curves, "-"),
        "vector sum, ε = 2": (_regret(ShuffleVectorSum(2.0, DELTA, simulate=True), silos, horizon, seeds).curves, "-"),
        "silo-LDP, ε = 2": (_regret(SiloLDP(2.0, DELTA), silos, horizon, seeds).curves, "-"),
        "determinant schedule: no valid claim": (
            simulate(
                lambda seed: LinearContexts.random(6, 20, seed, noise=_NOISE),
                _older(silos, horizon, 2.0),
                silos=silos,
                horizon=horizon,
                seeds=seeds[:1],
            ).curves,
            "--",
        ),
    }
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, (values, style) in curves.items():
        axes.plot(np.arange(1, horizon + 1), values.mean(axis=0), style, label=name)
    axes.set(xlabel="users of each silo", ylabel="regret a silo", title=f"{silos} silos, d = 6, 20 actions")
    axes.legend(fontsize=9)
    return figure


STUDY = Study(
    18,
    "federated-bandits",
    "Private federated linear contextual bandits",
    """Several silos serve users from one linear reward model; what leaves a silo is the noisy sums of a tree.

- Every mechanism is calibrated to its claim (replacement of one user, joint sensitivity √4.5). The official code drops
  constants; its noise is drawn in the rows of figure 2a only, and carries no claim.
- Amplification by shuffling whole silos is refused at every setting tried: it needs more than 16 ln(4κ/δ) silos,
  and noise that hides a silo's whole node. `ShuffleVectorSum` and `SecureSumDP` are sound.
- **The published algorithm, as our card has it from the official code, has a fourth flaw.** Between two
  synchronisations its actions follow raw local statistics,
  so one user can change what all later users of the batch contribute, while the proof counts one contribution. Our
  default steers by released sums; the rows "silo-LDP", "secure sum" and "vector sum" do. It has its price: without
  noise the regret is twice that of local steering.
- With the radius of the theory (exploration 1) the private learners explore for tens of thousands of users. The
  comparisons by ε use exploration 0.1, as the paper's run on real data does; the slope test uses 1.
- Contexts are fresh for every user. On the paper's fixed set of actions all silos play one action for a whole batch,
  and with exploration 0.1 the order of the learners was another, and erratic: seen first, then left for fresh contexts.
- `ShuffleVectorSum` is simulated, by unseeded noise: its figures differ a little from run to run.
- Rewards are the mean ± 1/4, so that they are bounded; the official code's Gaussian ones are not.
- MSLR-WEB10K could not be had; the digits that ship with scikit-learn take its place.""",
    run,
)
