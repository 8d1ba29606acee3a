"""The audit rows of the study of system 01: who is caught at a claimed ε = 1, and who is not.

For `sfumato.studies.dp_kaplan_meier`. The pairs are the counterexample's, the auditor is that of system 31.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.statistics.survival import DPKaplanMeier
from sfumato.statistics.survival.countmatrix import CountMatrixKM
from sfumato.statistics.survival.fixtures import counterexample
from sfumato.statistics.survival.smoothers import SmoothedCurveKM
from sfumato.statistics.survival.timewise import TimewiseLaplaceKM
from sfumato.studies.study import Row, Scale
from sfumato.studies.survival_audit import audit_release

Floats = NDArray[np.float64]

_AUDIT = {"smoke": 4_000, "small": 100_000, "full": 1_000_000}


def audit_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """Audit the published variants, their sound twins and ours."""
    trials = _AUDIT[scale]
    auditor = Auditor(
        n_train=trials // 4, n_select=trials // 4, n_test=trials, random_state=seed, progress=False,
        scores=("threshold", "histogram"),
    )  # fmt: skip
    example = counterexample()
    victims: list[tuple[str, Any, tuple[Any, Any], str]] = [
        (
            f"timewise, {schedule}",
            TimewiseLaplaceKM(1.0, schedule, grid=example.grid, i_know_this_is_not_private=True),
            (example.first, example.second),
            "replace-one",
        )
        for schedule in ("at_risk", "index", "const")
    ]
    victims += [
        (
            f"follow-up, {smoother}",
            SmoothedCurveKM(1.0, smoother, horizon=100.0, i_know_this_is_not_private=True),
            (example.first, example.without),
            "add-remove",
        )
        for smoother in ("dct", "haar", "tv", "weibull")
    ]
    victims += [
        (
            f"follow-up, {smoother}, with noise of scale 1/ε on both sides",
            SmoothedCurveKM(1.0, smoother, horizon=100.0, i_know_this_is_not_private=True),
            (example.first, example.second),
            "replace-one",
        )
        for smoother in ("dct", "haar", "tv", "weibull")
    ]
    for name, victim, pair, neighbours in victims:
        claim = Claim(PureDP(1.0), neighbours=neighbours)  # type: ignore[arg-type]
        report = auditor.audit(functools.partial(_every_tenth, victim), claim, pairs=[pair])
        yield Row(
            f"audit of {name} at a claimed ε = 1",
            "ε-DP" if "timewise" in name else "node-level ε-DP (2509.00615)",
            f"{report.verdict}: ε ≥ {report.eps_lower:.2f}, {trials:,} runs a side",
            _caught(report, scale, name),
        )
    sound = {
        "Gondara and Wang on a public grid": CountMatrixKM(1.0, grid=example.grid, i_know_this_is_not_private=True),
        **{
            f"follow-up, {smoother}, at the sound sensitivity": SmoothedCurveKM(
                1.0, smoother, horizon=100.0, sens="sound", i_know_this_is_not_private=True
            )
            for smoother in ("dct", "haar")
        },
    }
    for name, baseline in sound.items():
        pair = (example.first, example.without)
        report = auditor.audit(functools.partial(_every_tenth, baseline), Claim(PureDP(1.0)), pairs=[pair])
        measured = f"{report.verdict}: ε ≥ {report.eps_lower:.3f}"
        yield Row(f"audit of {name} at ε = 1", "not found", measured, report.verdict == "no violation found")
    for neighbours in ("add-remove", "replace-one"):
        subject = DPKaplanMeier(1.0, horizon=100.0, n_bins=10, neighbours=neighbours)  # type: ignore[arg-type]
        evidence = audit_release(subject, trials, seed)
        yield Row(
            f"audit of DPKaplanMeier at ε = 1, {neighbours}",
            "not found",
            f"{evidence.verdict}: ε ≥ {evidence.value:.3f}",
            evidence.verdict == "consistent",
        )


def _caught(report: Any, scale: Scale, name: str) -> bool | None:
    if "on both sides" in name:  # a second look, without a target
        return None
    return bool(report.verdict == "violation" and (scale == "smoke" or report.eps_lower > 5))


def _every_tenth(victim: Any, cohort: Any, n: int, rng: np.random.Generator) -> Floats:
    """Look at ten points of each curve: less than was released, so what is found holds for the whole."""
    return np.asarray(victim.sample(*cohort, n, rng)[:, 9::10], dtype=np.float64)
