"""Whose bit is read: success by how outlying a person is, by how many share a cell, and beside Anonymeter.

For the study of system 10. Outliers are the usual suspects of attacks on synthetic data; Annamalai et al. (2024) claim
to read arbitrary people. Anonymeter: Giomi, Boenisch, Wehmeyer, Tasnádi (PoPETs 2023).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import distance

from sfumato.attacks.reconstruction import AttributeAttack, BayesianNetwork

_NEIGHBOURS = 10
#: Names the interpreter of an environment with Anonymeter, whose NumPy is older than ours.
PEER = "SFUMATO_ANONYMETER_PYTHON"
_PEER_SCRIPT = """
import json, sys, pandas as pd
from anonymeter.evaluators import InferenceEvaluator
ori, syn, control = (pd.read_csv(name, dtype=str) for name in sys.argv[1:4])
aux = [name for name in ori.columns if name != sys.argv[4]]
found = InferenceEvaluator(ori=ori, syn=syn, control=control, aux_cols=aux, secret=sys.argv[4], n_attacks=500)
results = found.evaluate(n_jobs=1).results()
rates = {"attack": results.attack_rate.value, "control": results.control_rate.value}
print(json.dumps({**rates, "risk": found.risk().value, "ci": list(found.risk().ci)}))
"""


def sample_with_coins(data: pd.DataFrame, secret: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n people, and a fair coin for each one's secret."""
    people = data.iloc[rng.permutation(len(data))[:n]].reset_index(drop=True)
    return people.assign(**{secret: rng.integers(2, size=n)})


def read_each(
    data: pd.DataFrame,
    secret: str,
    generator: Any,
    attacks: Mapping[str, AttributeAttack],
    *,
    rows: int,
    seed: int,
    n: int = 1000,
) -> pd.DataFrame:
    """Play the game on all bits once and keep a line for each unique person.

    Returns
    -------
    pandas.DataFrame
        Whether each attack was right; ``outlying``: mean Hamming distance to the ten nearest other people; and of a
        Bayesian network ``cell``: how many share the person's cell of the largest table that holds the secret, and
        ``reader``: the chance to be right of who knows that table's exact counts.
    """
    rng = np.random.default_rng(seed)
    people = sample_with_coins(data, secret, n, rng)
    generator.fit(people)
    synthetic, quasi = generator.sample(rows), people.drop(columns=secret)
    found = pd.DataFrame({"outlying": _outlying(quasi)})
    for name, attack in attacks.items():
        guesses = attack.fit(quasi).score(synthetic, secret) >= 0.5
        found[name] = guesses == (people[secret] == 1)
    if isinstance(generator, BayesianNetwork):
        found["cell"], found["reader"] = _cells(people, secret, generator)
    return found[~quasi.duplicated(keep=False).to_numpy()].reset_index(drop=True)


def by_tenth(found: pd.DataFrame, attack: str) -> list[float]:
    """Accuracy of an attack in each tenth of the people, from the most ordinary to the most outlying."""
    places = found["outlying"].rank(method="first").sub(1).mul(10).floordiv(len(found))
    return [float(each) for each in found[attack].groupby(places).mean()]


def anonymeter(original: pd.DataFrame, synthetic: pd.DataFrame, control: pd.DataFrame, secret: str) -> Any | None:
    """Anonymeter's inference risk: its rates of right guesses and the risk with its interval; None if it is absent."""
    python = os.environ.get(PEER)
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{name}.csv") for name in ("original", "synthetic", "control")]
        for path, frame in zip(paths, (original, synthetic, control), strict=True):
            frame.to_csv(path, index=False)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [python, "-W", "ignore", "-c", _PEER_SCRIPT, *paths, secret]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _outlying(quasi: pd.DataFrame) -> np.ndarray[Any, Any]:
    codes = np.column_stack([pd.factorize(quasi[name])[0] for name in quasi])
    apart = distance.squareform(distance.pdist(codes, "hamming")) * codes.shape[1]
    np.fill_diagonal(apart, math.inf)
    return np.asarray(np.sort(apart, axis=1)[:, :_NEIGHBOURS].mean(axis=1))


def _cells(people: pd.DataFrame, secret: str, generator: BayesianNetwork) -> tuple[pd.Series, pd.Series]:
    names = list(people.columns)
    families = [{x, *parents} for x, parents in generator.network_.nodes]
    largest = max((each for each in families if names.index(secret) in each), key=len)
    groups = people.groupby([names[i] for i in sorted(largest) if names[i] != secret])[secret]
    size, ones = groups.transform("size"), groups.transform("sum")
    return size, np.maximum(ones, size - ones) / size
