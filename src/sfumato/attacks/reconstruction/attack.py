"""ReconstructionAttack: read a secret bit of everybody out of synthetic rows.

For a team about to publish synthetic data about people whose other attributes are known to outsiders. Annamalai,
Gadotti and Rocher, "A Linear Reconstruction Approach for Attribute Inference Attacks against Synthetic Data"
(USENIX Security 2024, arXiv 2301.10053).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, get_args

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sfumato.attacks.reconstruction.encoding import Codebook, Codes, Floats, Missing, read_bits
from sfumato.attacks.reconstruction.queries import Queries, build_queries
from sfumato.attacks.reconstruction.solver import Loss, Solver, solve
from sfumato.errors import InvalidData

Scaling = Literal["cond", "normal"]


class ReconstructionAttack(BaseEstimator):  # type: ignore[misc]
    """Solves for everybody's secret so that k-way counts of people match those of the synthetic rows.

    The adversary knows the quasi-identifiers of all n people and sees the synthetic rows; it knows neither the
    generator nor a single secret.

    Parameters
    ----------
    k : int or sequence of int, default 3
        Attributes in a query, the secret among them; several mean the union, such as (2, 3, 4).
    max_queries : int, optional
        Keep this many at random; all by default. The paper kept 100,000 with k = 4.
    scaling : {"cond", "normal"}
        An answer is the number of users in the query times the secret's share among the synthetic rows in it, or
        the number of synthetic rows with the secret in it times n / N.
    loss : {"l1", "l2"}
        Linear program, or bounded least squares.
    solver : {"highs-ipm", "highs-ds"}
        Of the linear program: interior point, or dual simplex.
    time_limit : float, optional
        Seconds for the linear program; beyond it everybody's score is ½ and `solved_` is False.
    missing : {"error", "category"}
        Whether missing quasi-identifiers are refused or are a value like any other.
    random_state : int, RandomState or None
        Chooses queries and flips the coins of an unsolved program.

    Attributes
    ----------
    queries_ : Queries
    codebook_ : Codebook
    solved_ : bool
        After `score`: whether the program was solved.
    objective_ : float
        After `score`: what was minimised.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"age": [1, 1, 2, 2], "town": [1, 2, 1, 2]})
    >>> rows = people.assign(ill=[1, 0, 0, 1])
    >>> ReconstructionAttack(k=3).fit(people).predict(rows, "ill").tolist()
    [1, 0, 0, 1]
    """

    def __init__(
        self,
        k: int | Sequence[int] = 3,
        *,
        max_queries: int | None = None,
        scaling: Scaling = "cond",
        loss: Loss = "l1",
        solver: Solver = "highs-ipm",
        time_limit: float | None = None,
        missing: Missing = "error",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.k = k
        self.max_queries = max_queries
        self.scaling = scaling
        self.loss = loss
        self.solver = solver
        self.time_limit = time_limit
        self.missing = missing
        self.random_state = random_state

    def fit(self, quasi: pd.DataFrame) -> Self:
        """Build the queries about these people, once for any number of synthetic tables.

        Parameters
        ----------
        quasi : pandas.DataFrame, shape (n, d)
            Categorical quasi-identifiers, without the secret; bin numeric ones by `discretize` first.

        Raises
        ------
        InvalidData
            On a bad parameter, an empty frame or missing values.
        """
        self._check()
        self.random_ = check_random_state(self.random_state)
        self.codebook_ = Codebook.of(quasi, missing=self.missing)
        rng = np.random.default_rng(self.random_.randint(2**31))
        self.queries_: Queries = build_queries(
            self.codebook_.encode(quasi), self.codebook_.cardinalities, self._ways(), self.max_queries, rng
        )
        return self

    def score(self, synthetic: pd.DataFrame, secret: str) -> Floats:
        """Return a score in [0, 1] of each person's secret being 1, shape (n,).

        Parameters
        ----------
        synthetic : pandas.DataFrame, shape (N, …)
            With the columns of `quasi` and the secret.
        secret : str
            A column of 0 and 1.

        Raises
        ------
        InvalidData
            If the secret is among the quasi-identifiers or not binary, or the synthetic rows do not have their form.
        """
        if not hasattr(self, "queries_"):
            raise InvalidData("fit the attack to the quasi-identifiers first")
        if secret in self.codebook_.values:
            raise InvalidData(f"the secret {secret!r} is among the quasi-identifiers: then there is nothing to find")
        bits = read_bits(synthetic, secret)
        answers = self._answers(self.codebook_.encode(synthetic), bits)
        solution = solve(self.queries_.members, answers, loss=self.loss, solver=self.solver, time_limit=self.time_limit)
        self.solved_, self.objective_ = solution.solved, solution.objective
        return solution.scores

    def predict(self, synthetic: pd.DataFrame, secret: str) -> Codes:
        """Guess each person's secret: 1 from a score of ½ on, coins where the program was not solved. Shape (n,)."""
        scores = self.score(synthetic, secret)
        if not self.solved_:
            return np.asarray(self.random_.randint(2, size=len(scores)), dtype=np.int64)
        return (scores >= 0.5).astype(np.int64)

    def _answers(self, codes: Codes, bits: Codes) -> Floats:
        """What the synthetic rows say of the number of users in each query who have the secret."""
        matching, with_secret = self.queries_.answer(codes, bits)
        if self.scaling == "normal":
            return np.asarray(with_secret * (self.queries_.members.shape[1] / len(bits)), dtype=np.float64)
        # Where no synthetic row matches, the paper's answer is 0.
        return np.asarray(with_secret * self.queries_.sizes / np.maximum(matching, 1), dtype=np.float64)

    def _ways(self) -> list[int]:
        return [self.k] if isinstance(self.k, int) else list(self.k)

    def _check(self) -> None:
        for name, kind in (("scaling", Scaling), ("loss", Loss), ("solver", Solver)):
            if getattr(self, name) not in get_args(kind):
                raise InvalidData(f"{name} must be one of {', '.join(get_args(kind))}")
        if self.max_queries is not None and self.max_queries < 1:
            raise InvalidData("max_queries must be at least 1")
        if self.time_limit is not None and not self.time_limit > 0:
            raise InvalidData("time_limit must be above 0 seconds")
