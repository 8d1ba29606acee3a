"""Peers of the private mean and median: clipped mean, shrinking mean, OpenDP's quantile, diffprivlib in its own Python.

For the study of card 11 and its benchmark. Kamath et al. 2020 for the shrinking mean (COINPRESS, in one dimension).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.bounds import ZCDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Floats = NDArray[np.float64]

#: Names an interpreter that has diffprivlib: it does not import beside scikit-learn 1.9, so it needs its own.
DIFFPRIVLIB = "SFUMATO_DIFFPRIVLIB"

_SCRIPT = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from diffprivlib import tools
job = json.loads(sys.argv[1])
rng = np.random.default_rng(job["seed"])
errors = {"mean": [], "median": []}
seconds = {"mean": 0.0, "median": 0.0}
for _ in range(job["runs"]):
    x = rng.normal(job["truth"], 1, job["n"])
    for name in errors:
        start = time.perf_counter()
        found = getattr(tools, name)(x, epsilon=job["epsilon"], bounds=(-job["half"], job["half"]))
        seconds[name] += time.perf_counter() - start
        errors[name].append(abs(float(found) - job["truth"]))
print(json.dumps({"errors": errors, "seconds": seconds}))
"""


def clipped_mean(x: Floats, epsilon: float, half: float) -> float:
    """Mean of records clipped to [-half, half], with Laplace noise for one record replaced."""
    with Release(Claim(PureDP(epsilon), neighbours="replace-one"), "clipped mean") as release:
        mean = float(np.clip(x, -half, half).mean())
        return float(release.laplace([mean], l1_sensitivity=2 * half / len(x), epsilon=epsilon)[0])


def shrinking_mean(x: Floats, epsilon: float, half: float, scale: float = 1.0) -> float:
    """Three Gaussian steps with ε²/2 of zCDP in all, each of which narrows the range for the next."""
    n, centre = len(x), 0.0
    tail = scale * math.sqrt(2 * math.log(20 * n))
    with Release(Claim(ZCDP(epsilon**2 / 2), neighbours="replace-one"), "shrinking mean") as release:
        for share in (1 / 8, 1 / 8, 3 / 4):
            rho, reach = share * epsilon**2 / 2, half + tail
            mean = float(np.clip(x, centre - reach, centre + reach).mean())
            sensitivity = 2 * reach / n
            centre = float(release.gaussian([mean], l2_sensitivity=sensitivity, rho=rho)[0])
            half = 3 * math.hypot(sensitivity / math.sqrt(2 * rho), scale / math.sqrt(n))
    return centre


def opendp_median(n: int, epsilon: float, candidates: Floats) -> Any:
    """OpenDP's private median of n records, one replaced, among candidates."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False), size=n), dp.symmetric_distance()

    def make(scale: float) -> Any:
        return dp.m.make_private_quantile(*space, dp.max_divergence(), candidates.tolist(), 0.5, scale)

    return dp.binary_search_chain(make, d_in=2, d_out=epsilon)


def diffprivlib_errors(n: int, epsilon: float, half: float, runs: int, truth: float, seed: int) -> Any:
    """Errors and seconds of diffprivlib's mean and median; None where no interpreter is named that has it."""
    python = os.environ.get(DIFFPRIVLIB)
    if not python:
        return None
    job = {"n": n, "epsilon": epsilon, "half": half, "runs": runs, "truth": truth, "seed": seed}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", _SCRIPT, json.dumps(job)], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)
