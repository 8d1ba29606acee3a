"""Peers of the synthesizers that run in a Python of their own: MST and AIM, as smartnoise-synth 1.0.8 has them.

For the study of card 24 and its benchmark. McKenna, Miklau and Sheldon 2021 (MST) and McKenna et al. 2022 (AIM).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.synthesis import Domain
from sfumato.synthesis.domain import Rows

#: Names an interpreter that has smartnoise-synth: it pins mbi below 2 and opacus below 0.15, so it needs its own.
SMARTNOISE = "SFUMATO_SMARTNOISE"

# The domain is given, not learned from the table, so the classes are entered below `fit`.
_SCRIPT = """
import json, sys, time, warnings
from importlib.metadata import version
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
import mbi
from snsynth.aim import AIMSynthesizer
from snsynth.mst import MSTSynthesizer
from snsynth.utils import cdp_rho

job = json.loads(sys.argv[1])
codes = np.loadtxt(job["source"], delimiter=",", dtype=int, ndmin=2)
names = ["col%d" % place for place in range(codes.shape[1])]
domain = mbi.Domain(names, job["sizes"])
start = time.perf_counter()
if job["peer"] == "MST":
    peer = MSTSynthesizer(job["epsilon"], job["delta"])
    peer.MST(mbi.Dataset(codes, domain), job["epsilon"], job["delta"])
    drawn = peer.synthesizer.synthetic_data(rows=job["rows"])
    found = peer.undo_compress_fn(drawn).df
else:
    peer = AIMSynthesizer(job["epsilon"], job["delta"], rounds=job["rounds"])
    peer.num_rows, peer.rho = len(codes), cdp_rho(job["epsilon"], job["delta"])
    data = mbi.Dataset(codes, domain)
    peer.AIM(data, peer.get_workload(data, degree=2, max_cells=peer.max_cells))
    drawn = peer.synthesizer.synthetic_data(rows=job["rows"])
    found = pd.DataFrame({name: np.asarray(drawn.to_dict()[name]) for name in names})
seconds = time.perf_counter() - start
found[names].to_csv(job["target"], header=False, index=False)
packages = ("smartnoise-synth", "mbi", "jax", "numpy")
print(json.dumps({"seconds": seconds, "versions": {name: version(name) for name in packages}}))
"""


@dataclass(frozen=True)
class Peer:
    """What a peer made, or why it made nothing.

    Attributes
    ----------
    rows : ndarray of float64, shape (n, d), or None
        In the numbers of the domain; a number lies in the middle of its bin.
    seconds : float
        Wall clock, compilation included.
    versions : dict of str to str
    reason : str
        Why there are no rows; else empty.
    """

    rows: Rows | None = None
    seconds: float = 0.0
    versions: dict[str, str] | None = None
    reason: str = ""


def peer_rows(
    name: Literal["MST", "AIM"],
    rows: Rows,
    domain: Domain,
    *,
    epsilon: float,
    delta: float,
    n_synthetic: int,
    bins: int = 32,
    rounds: int | None = None,
    timeout: float = 3600,
) -> Peer:
    """Run a peer on encoded rows, numeric columns cut into equal bins.

    Parameters
    ----------
    name : {"MST", "AIM"}
    rows : ndarray, shape (N, d)
    domain : Domain
    epsilon, delta : float
    n_synthetic : int
    bins : int, default 32
    rounds : int, optional
        Of AIM; by default its own, 16 a column.
    timeout : float
        Seconds after which it is stopped.

    Raises
    ------
    InvalidData
        If there is no such peer.
    """
    if name not in ("MST", "AIM"):
        raise InvalidData(f"name must be MST or AIM, got {name!r}")
    python = os.environ.get(SMARTNOISE)
    if not python:
        return Peer(reason=f"{SMARTNOISE} names no interpreter with smartnoise-synth")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "table.csv", Path(folder) / "synthetic.csv"
        np.savetxt(source, _codes(rows, domain, bins), fmt="%d", delimiter=",")
        job = {"peer": name, "source": str(source), "target": str(target), "rows": n_synthetic, "rounds": rounds}
        job |= {"sizes": [int(size) or bins for size in domain.sizes], "epsilon": epsilon, "delta": delta}
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            done = subprocess.run(
                [python, "-c", _SCRIPT, json.dumps(job)],
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Peer(reason=f"{name} did not end: {type(error).__name__}")
        if done.returncode:
            return Peer(reason=f"{name} failed: {done.stderr.strip()[-300:]}")
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        codes = np.loadtxt(target, delimiter=",", ndmin=2)
    return Peer(_rows(codes, domain, bins), told["seconds"], told["versions"])


def _codes(rows: Rows, domain: Domain, bins: int) -> NDArray[np.int64]:
    cut = np.minimum(rows * bins, bins - 1)
    return np.where(domain.sizes == 0, cut, rows).astype(np.int64)


def _rows(codes: NDArray[np.float64], domain: Domain, bins: int) -> Rows:
    return np.where(domain.sizes == 0, (codes + 0.5) / bins, codes)
