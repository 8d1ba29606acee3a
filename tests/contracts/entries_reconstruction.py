"""Contracts of `sfumato.attacks.reconstruction`."""

import numpy as np
import pandas as pd
from contract import Contract
from coupling import captured

from sfumato.attacks.reconstruction import PrivBayes


def priv_bayes():
    """Three binary attributes. The noise of its tables is spread over many cells: an audit sees a coarse bug only."""
    domain = dict.fromkeys("abc", (0, 1))

    def generator():
        return PrivBayes(1.0, domain, degree=1, random_state=0)

    def rows(*counts):
        return pd.DataFrame(np.repeat([(0, 0, 0), (1, 1, 1)], counts, axis=0), columns=list("abc"))

    def neighbours(rng):
        n = int(rng.integers(2, 25))
        frame = pd.DataFrame(rng.integers(0, 2, (n, 3)), columns=list("abc"))
        other = frame.copy()
        other.iloc[int(rng.integers(n))] = rng.integers(0, 2, 3)
        return frame, other

    def outputs(data, n, rng):
        found = []
        for _ in range(n):
            drawn = []
            with captured(drawn):
                generator().fit(data)
            found.append(np.concatenate(drawn))
        return np.array(found)

    return Contract(
        PrivBayes,
        "pure",
        generator().claim,
        lambda data: generator().fit(data),
        neighbours,
        outputs,
        [(rows(5, 5), rows(6, 4))],
        [(rows(0, 40), rows(40, 0))],
        trials=3000,
        bug=24,
    )


CONTRACTS = [priv_bayes()]

WITHOUT_A_FORMAL_CLAIM = {
    "AttributeAttack": "the form of an attack",
    "ReconstructionAttack": "an attack",
    "InferenceForest": "an attack",
    "PopulationForest": "an attack",
    "NearestRecord": "an attack",
    "GameReport": "the result of an attack",
    "Generator": "the form of a target",
    "NonPrivate": "a target without a claim",
    "IndependentHistograms": "a target without a claim",
    "BayesianNetwork": "a target without a claim",
}
