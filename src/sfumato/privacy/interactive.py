"""Interactive: what every mechanism needs that answers one question after another on one budget.

For the authors of oracles, reusable holdouts and sparse vectors. Its release stays open between the questions, so the
count of what is left lives in the object and nowhere else: no copy of it may answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NoReturn, Self

from sfumato.errors import BudgetExceeded, ClaimViolated
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release


class Interactive:
    """Answers a limited number of questions, one thread at a time, in the process that opened it.

    The whole claim is charged when the release opens, before the first question: a crash loses the answers that were
    left, and gives none away. An object that is copied, pickled, carried over a fork or closed refuses to answer; to go
    on elsewhere, make another one, which pays anew. An error amid an answer ends the object, since noise may have been
    seen.

    Parameters
    ----------
    claim : Claim
        What all answers together promise.
    left : int
        Questions, or other paid events, that it may still take.
    release : Release, optional
        Open; closed with this object.
    """

    def __init__(self, claim: Claim, left: int, release: Release | None = None) -> None:
        self._claim = claim
        self._left = left
        self._release = release
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.RLock()

    @property
    def claim_(self) -> Claim:
        """What all answers together promise."""
        return self._claim

    @property
    def remaining_(self) -> int:
        """What is left of the questions, or of the events that are paid for."""
        return 0 if self._closed else self._left

    def close(self) -> None:
        """Give up what is left; the charge stands."""
        self._closed = True
        if self._release is not None:
            self._release.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise ClaimViolated("this cannot be copied or pickled: a copy's answers would be paid for by nobody")

    @contextlib.contextmanager
    def _turn(self, take: int = 0) -> Iterator[None]:
        """Hold the lock for one answer; `take` is counted before it is given.

        Raises
        ------
        BudgetExceeded
            If less than that is left, or nothing.
        ClaimViolated
            If the object is closed, or another process's.
        """
        self._check_usable()  # before the lock: a fork may have copied it in a locked state
        with self._lock:
            self._check_usable()
            if self._left < max(take, 1):
                raise BudgetExceeded(f"{self._left} answers are left of those that were paid for, asked for {take}")
            self._left -= take
            try:
                yield
            except BaseException:
                self.close()
                raise

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise ClaimViolated("a forked process cannot go on with its parent's answers: open one of its own")
        if self._closed:
            raise ClaimViolated("this is closed: open another one, which is paid for anew")
        if self._release is not None:
            self._release.check_open()
