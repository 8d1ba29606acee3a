"""What a study is: a run at a scale, rows that put a paper's figure beside the measured one, and pictures.

For the modules of this package, `sfumato study` and the generated docs pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Scale = Literal["smoke", "small", "full"]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    what : str
    paper : str
        What the source says, with the source; "not found" where its figure could not be read.
    measured : str
        What came out.
    holds : bool or None
        Whether our criterion is met; None where there is none, as for a claim that is only reported.
    """

    what: str
    paper: str
    measured: str
    holds: bool | None = None


@dataclass(frozen=True)
class StudyResult:
    """What one run gave; `figures` are matplotlib Figures by name."""

    rows: list[Row]
    scale: Scale
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study: `run(scale, seed)` returns its result; `introduction` opens its docs page."""

    number: int
    slug: str
    title: str
    introduction: str
    run: Callable[[Scale, int], StudyResult]


def to_markdown(study: Study, result: StudyResult) -> str:
    """Return a docs page of a result."""
    holds = {True: "yes", False: "**no**", None: ""}
    lines = [
        f"# {study.number:02} {study.title}",
        "",
        study.introduction,
        "",
        f"Measured at scale `{result.scale}` in {result.seconds:.0f} s on two cores; "
        f"`sfumato study run {study.slug} --scale {result.scale} --markdown` writes this page anew.",
        "",
        "| what | source says | measured | holds |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.what} | {r.paper} | {r.measured} | {holds[r.holds]} |" for r in result.rows]
    return "\n".join(lines) + "\n"
