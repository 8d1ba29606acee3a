"""Rows in chunks and one release: what does not fit into memory, or comes in over weeks, is summed and then released.

For the estimators of this package. Noise is drawn once, at the end, so that chunks cost neither budget nor accuracy;
answers after every chunk would need continual counting (Dwork, Naor, Pitassi and Rothblum 2010): another claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import ArrayLike

from sfumato.errors import ClaimViolated, InvalidData
from sfumato.statistics.similarity.rows import Floats, read_rows


@dataclass(frozen=True)
class Gathered:
    """Exact sums of the chunks so far, not private yet, and the parameters under which they were begun."""

    parameters: dict[str, Any]
    sums: Any


class InChunks:
    """`fit` all at once, or `partial_fit` chunk by chunk and `finalize`.

    *Proof*. What is released is computed from sums over people of whole numbers that are each their own row's alone.
    Such sums do not depend, to the last bit, on how the rows are cut into chunks; so `finalize` releases what `fit` on
    all rows at once releases, and its claim is that of `fit`: neighbours differ by one person's row in all chunks
    together. Until then no noise is drawn, nothing is charged and nothing can be asked; the sums so far are raw data,
    and are not pickled or copied. A person with rows in two chunks is two people here, who need twice the claim.

    After the release the sums are gone, and `partial_fit` refuses: new people are a new release. One estimator each for
    people who are not in the other costs the larger of the two claims (parallel composition), and sums of answers add.
    """

    _gathered: Gathered | None = None

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Release the sums over all rows. A second fit spends again.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
            One row a person; n may be 0.
        y : array_like, shape (n,)
            Labels, for a classifier; else ignored.

        Raises
        ------
        InvalidData
            On NaN, infinite or non-numeric values, bad labels, or bad parameters; before anything is spent.
        InvalidClaim
            On bad privacy parameters; before anything is spent.
        BudgetExceeded
            If the active ledger refuses.
        """
        self._gathered = None
        try:
            return self._gather(X, y).finalize()
        finally:
            self._gathered = None

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Add a chunk of rows to the sums; nothing is released or spent before `finalize`.

        Raises
        ------
        InvalidData
            As `fit`; the chunk is then not added. Also after a release, or if a parameter was changed since the first
            chunk.
        """
        if hasattr(self, "claim_"):
            raise InvalidData("released already: take a new estimator for new people, or fit anew, which spends again")
        return self._gather(X, y)

    def finalize(self) -> Self:
        """Release the sums of all chunks, once.

        Raises
        ------
        InvalidData
            If there was no chunk, or a parameter was changed since the first.
        BudgetExceeded
            If the active ledger refuses; the sums stay.
        """
        if self._gathered is None:
            raise InvalidData("nothing to release: call partial_fit first, with a chunk that may be empty")
        self._check_unchanged(self._gathered)
        self._release(self._gathered.sums)
        self._gathered = None
        return self

    def _gather(self, X: ArrayLike, y: Any) -> Self:
        known = self._gathered
        if known is not None:
            self._check_unchanged(known)
        rows = read_rows(self, X, reset=known is None)
        sums = self._begin(rows.shape[1]) if known is None else known.sums
        parameters = self.get_params(deep=False) if known is None else known.parameters  # type: ignore[attr-defined]
        # in one step: a chunk that was interrupted must not be half in
        self._gathered = Gathered(parameters, self._added(sums, rows, y))
        return self

    def _check_unchanged(self, known: Gathered) -> None:
        now = self.get_params(deep=False)  # type: ignore[attr-defined]
        changed = [name for name, value in known.parameters.items() if now[name] is not value]
        if changed:
            raise InvalidData(f"{', '.join(changed)} changed since the first chunk: fit anew")

    def __getstate__(self) -> Any:
        if self._gathered is not None:
            raise ClaimViolated("sums of chunks are raw data: finalize before pickling or copying")
        return super().__getstate__()

    # What an estimator adds

    def _begin(self, d: int) -> Any:
        """Check parameters, and return empty sums for rows of d columns."""
        raise NotImplementedError

    def _added(self, sums: Any, rows: Floats, y: Any) -> Any:
        """Return the sums with more rows, and leave those that were given alone."""
        raise NotImplementedError

    def _release(self, sums: Any) -> None:
        """Add the noise, and keep what comes out."""
        raise NotImplementedError
