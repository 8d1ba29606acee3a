"""Who pays for private training and for compression: digits with rare and common classes, and groups of a census.

For the study of system 23.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.data.census_income import load_census_income
from sfumato.data.images import mnist5k
from sfumato.errors import InvalidData
from sfumato.studies.error_feedback_digits import train_classifier
from sfumato.studies.memorization_networks import long_tailed, prune, quantise, train_network
from sfumato.studies.study import Row, Scale
from sfumato.training.memorization import (
    DisparateEffect,
    FrequencyPrior,
    disparate_effect,
    frequency_groups,
    privacy_cost_by_group,
)

_FAMILIES = {"smoke": 2, "small": 10, "full": 30}
_EPSILONS = {"smoke": (8.0,), "small": (1.0, 8.0), "full": (1.0, 8.0)}
_EPOCHS = {"smoke": 5, "small": 20, "full": 20}
_DELTA, _MOST, _POOL = 1e-4, 400, 400
_ATTRIBUTES = ("major_occupation", "self_born", "state_before", "education")


def long_tailed_effects(scale: Scale, seed: int) -> dict[str, DisparateEffect]:
    """Effects on fifths of the classes, 1,170 training digits, 1,000 test digits, by what limits the network."""
    images, labels = mnist5k()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    pool = np.concatenate([np.flatnonzero(labels == c)[:_POOL] for c in range(10)])
    test = np.setdiff1d(np.arange(len(labels)), pool)
    x, y, counts = long_tailed(images[pool], labels[pool], _MOST, 10, rng)
    seeds = range(seed, seed + _FAMILIES[scale])
    baseline = [train_network(x, y, random_state=each) for each in seeds]
    families: dict[str, list[Any]] = {
        "90 % pruned": [prune(each, 0.9) for each in baseline],
        "95 % pruned": [prune(each, 0.95) for each in baseline],
        "95 % pruned, 5 epochs of fine-tuning": [prune(each, 0.95, epochs=5) for each in baseline],
        "99 % pruned, 5 epochs of fine-tuning": [prune(each, 0.99, epochs=5) for each in baseline],
        "int8": [quantise(each) for each in baseline],
    }
    for epsilon in _EPSILONS[scale]:
        families[f"DP-SGD, ε = {epsilon:g}"] = [
            train_classifier(
                x, y, method="DP-SGD", epsilon=epsilon, delta=_DELTA, epochs=_EPOCHS[scale], random_state=each
            ).predict_proba
            for each in seeds
        ]
    frequency = np.array([counts[int(c)] for c in labels[test]]) / len(y)
    groups = frequency_groups(frequency)
    frequencies = {int(g): float(frequency[groups == g].mean()) for g in np.unique(groups)}
    return {
        name: disparate_effect(
            baseline,
            models,
            images[test],
            labels[test],
            groups,
            frequencies=frequencies,
            predicted=_predicted(name, frequencies, len(y), seed),
            random_state=seed,
        )
        for name, models in families.items()
    }


def _predicted(name: str, frequencies: dict[int, float], n: int, seed: int) -> dict[int, float] | None:
    """Least drop of each fifth by the theory, if a class has 100 kinds of writing with frequencies as Zipf's."""
    if "ε" not in name:
        return None
    epsilon = float(name.rsplit("=", 1)[1])
    total = sum(frequencies.values())
    priors = {str(g): FrequencyPrior.zipf(200) for g in frequencies}
    shares = {str(g): f / total for g, f in frequencies.items()}
    table = privacy_cost_by_group(priors, shares, n, epsilon, _DELTA, random_state=seed)
    return {g: float(table["drop"][str(g)]) for g in frequencies}


def disparity_rows(effects: dict[str, DisparateEffect], scale: Scale) -> Iterator[Row]:
    """A row for each limit."""
    for name, effect in effects.items():
        drops = effect.groups["drop"]
        predicted = ""
        if "predicted" in effect.groups:
            predicted = f"; predicted at least {', '.join(f'{p:.3f}' for p in effect.groups['predicted'])}"
        yield Row(
            f"digits, classes kept as 1/rank, {name}: drop of accuracy by fifths of classes, the rarest first; rarest "
            "minus commonest and slope against ln frequency with 95 % intervals",
            "falls on the tail (abstract); rarest at least twice the commonest (our target)",
            f"{', '.join(f'{d:+.3f}' for d in drops)}; {effect.contrast}; {effect.slope}{predicted}",
            None if scale == "smoke" else falls_on_the_tail(effect),
        )


def falls_on_the_tail(effect: DisparateEffect) -> bool:
    """The rarest group loses at least twice what the commonest does, and more beyond chance."""
    rarest, commonest = float(effect.groups["drop"].iloc[0]), float(effect.groups["drop"].iloc[-1])
    return rarest >= 2 * max(commonest, 0.0) and effect.contrast.low > 0


def census_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """The same for groups of people, on as many rich as poor; only where the census table has been fetched."""
    try:
        frame = load_census_income()
    except InvalidData:
        return

    x, y, people = _people(frame, seed)
    train, test = slice(0, 4000), slice(4000, None)
    seeds = range(seed, seed + _FAMILIES[scale])
    baseline = [train_network(x[train], y[train], n_classes=2, epochs=10, random_state=each) for each in seeds]
    limited = [_private_income(x[train], y[train], each) for each in seeds]
    for attribute in _ATTRIBUTES:
        values = people[attribute].to_numpy()
        share = pd.Series(values[train]).value_counts(normalize=True)
        frequency = pd.Series(values[test]).map(share).fillna(0.5 / len(values[train])).to_numpy()
        groups = frequency_groups(frequency)
        if len(np.unique(groups)) < 2:
            groups = frequency_groups(frequency, 20)
        if len(np.unique(groups)) < 2:
            groups = (frequency == frequency.max()).astype(np.int64)
        frequencies = {int(g): float(frequency[groups == g].mean()) for g in np.unique(groups)}
        effect = disparate_effect(
            baseline, limited, x[test], y[test], groups, frequencies=frequencies, random_state=seed
        )
        yield Row(
            f"census, income, 4,000 people, DP-SGD ε = 1: drop of accuracy by how common the {attribute} is, the "
            "rarest first; rarest minus commonest and slope with 95 % intervals",
            "falls on the tail (abstract); rarest at least twice the commonest (our target)",
            f"{', '.join(f'{d:+.3f}' for d in effect.groups['drop'])}; {effect.contrast}; {effect.slope}",
            falls_on_the_tail(effect),
        )


def _private_income(x: Any, y: Any, seed: int) -> Any:
    made = train_classifier(x, y, method="DP-SGD", epsilon=1.0, delta=_DELTA, epochs=10, random_state=seed)
    return lambda people: made.predict_proba(people)[:, :2].argmax(axis=1)  # it has places for ten classes


def _people(frame: pd.DataFrame, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], pd.DataFrame]:
    """12,000 people, half of them above 50,000 dollars, coded 0 … 1: numbers scaled, categories one column a value."""
    rich = frame["income"].astype(str).str.contains("50000+", regex=False)
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(side))[:6000] for side in (rich, ~rich)])
    people = frame.iloc[rng.permutation(chosen)].reset_index(drop=True)
    y = people["income"].astype(str).str.contains("50000+", regex=False).to_numpy().astype(np.int64)
    numbers = people[["age", "weeks_worked", "capital_gains", "dividends", "wage_per_hour"]].astype(float)
    numbers = np.log1p(numbers) / np.log1p(numbers).max()
    kinds = ["education", "major_occupation", "major_industry", "marital", "sex", "race", "self_born", "state_before"]
    x = pd.concat([numbers, pd.get_dummies(people[kinds].astype(str))], axis=1)
    return x.to_numpy(dtype=np.float32), y, people


def disparity_picture(effects: dict[str, DisparateEffect]) -> Any:
    """Drops by fifths, for each limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(effects)
    for position, (name, effect) in enumerate(effects.items()):
        table = effect.groups
        at = np.arange(len(table)) + (position - len(effects) / 2) * width
        error = [table["drop"] - table["low"], table["high"] - table["drop"]]
        axes.bar(at, table["drop"], width, yerr=np.maximum(error, 0), label=name, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(table)), [f"{f:.1%}" for f in table["frequency"]])
    axes.set(xlabel="share of the training digits that a class of this fifth has", ylabel="accuracy lost")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.legend(fontsize=8)
    return figure
