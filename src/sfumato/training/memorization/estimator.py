"""Estimate which records a learner memorises and whom they influence, by training on random subsets.

For a model owner, with any scikit-learn classifier or training function. Feldman and Zhang, "What Neural Networks
Memorize and Why" (NeurIPS 2020, arXiv 2008.03703).
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.parallel import Parallel, delayed

from sfumato.errors import InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.claim import Claim
from sfumato.training.memorization.cache import ScoreCache, fingerprint
from sfumato.training.memorization.epsilon import Correction, lower_bound
from sfumato.training.memorization.learners import Records, Score, TrainFunction, score, train
from sfumato.training.memorization.scores import Floats, Interval, Rates, influence_above, influence_matrix, rates

_FEW_MODELS = 50


class MemorizationEstimator(BaseEstimator):  # type: ignore[misc]
    """Memorisation of each training record, and its influence on test records.

    The scores are computed from the records without noise: they are not private, and neither is the cache.

    Parameters
    ----------
    estimator : classifier or callable
        A scikit-learn classifier, cloned and refitted; or ``train_fn(indices, seed) -> predict`` with
        ``predict(x)`` returning labels (n,) or probabilities (n, k), columns in the order of the sorted classes.
    n_models : int
        t, models to train.
    subset : float
        Share of the records that each is trained on, drawn without replacement, in (0.05, 0.95).
    score : {"correct", "proba"}
        What is averaged: correctness, or the probability of the right class, which varies less from model to model.
    influence_threshold : float or None
        Keep influences from this absolute value on in a sparse matrix; None keeps all of them, dense.
    n_jobs : int
        Processes of joblib.
    cache_dir : path, optional
        Folder with one file a model, from which an interrupted `fit` goes on, and a longer one starts.
    progress : bool, optional
        Show progress; by default if standard error is a terminal.
    random_state : int
        Decides the subsets and the seeds of training.

    Attributes
    ----------
    memorization_, memorization_se_ : ndarray of float, shape (n,)
        Estimates and their standard errors; NaN for a record that all models or none were trained on.
    in_rate_, out_rate_ : ndarray of float, shape (n,)
    rates_ : Rates
        The same with numbers of models; has other intervals.
    influence_ : csr_array of float32, shape (n, m), or dense ndarray
        Of training on test records; only with test records.
    members_ : ndarray of bool, shape (t, n)
    train_scores_, test_scores_ : ndarray, shapes (t, n) and (t, m)
    test_score_ : float
        Mean score on the test records.
    classes_ : ndarray

    Notes
    -----
    What is estimated is leave-one-out memorisation of the learner *at the size of a subset*, not at that of the whole
    data. The standard error is at most √(1/(4tp) + 1/(4t(1-p))) with p the share: .055 for 400 models and .7. A score
    is high for a record whose label the model knows only by having seen it; a confidence attack may still tell members
    of low score, so a low score is no evidence of privacy.
    """

    def __init__(
        self,
        estimator: Any | TrainFunction,
        *,
        n_models: int = 400,
        subset: float = 0.7,
        score: Score = "correct",
        influence_threshold: float | None = 0.1,
        n_jobs: int = 1,
        cache_dir: str | Path | None = None,
        progress: bool | None = None,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_models = n_models
        self.subset = subset
        self.score = score
        self.influence_threshold = influence_threshold
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: Any, y: Any, X_test: Any = None, y_test: Any = None) -> Self:
        """Train the models and estimate.

        Parameters
        ----------
        X : array or data frame, n records
        y : array of int or str, shape (n,)
        X_test, y_test : as X and y, m records, optional
            For influence.

        Raises
        ------
        InvalidData
            If a parameter or the data are not as declared, or the cache belongs to something else.
        """
        data = Records.checked(X, y)
        if (X_test is None) != (y_test is None):
            raise InvalidData("X_test and y_test go together")
        test = None if X_test is None else Records.checked(X_test, y_test, "y_test")
        size = self._checked_size(len(data.y))
        self._y, self._y_test = data.y, None if test is None else test.y
        self.classes_ = np.unique(data.y if test is None else np.concatenate([data.y, test.y]))
        plans = [self._plan(model, len(data.y), size) for model in range(self.n_models)]
        self.members_ = np.zeros((self.n_models, len(data.y)), dtype=np.bool_)
        for row, (indices, _) in zip(self.members_, plans, strict=True):
            row[indices] = True
        self.train_scores_, self.test_scores_ = self._train_all(data, test, plans)
        self.rates_: Rates = rates(self.members_, self.train_scores_)
        self.memorization_, self.memorization_se_ = self.rates_.memorization, self.rates_.standard_error
        self.in_rate_, self.out_rate_ = self.rates_.in_rate, self.rates_.out_rate
        unknown = int(np.isnan(self.memorization_).sum())
        if unknown:
            warnings.warn(
                f"{unknown} records were in all subsets or in none: their scores are NaN; train more models",
                stacklevel=2,
            )
        if test is not None:
            self.test_score_ = float(self.test_scores_.mean())
            self.influence_ = self._influence()
        return self

    def _checked_size(self, n: int) -> int:
        if isinstance(self.n_models, bool) or self.n_models != int(self.n_models) or self.n_models < 2:
            raise InvalidData(f"n_models must be a whole number, at least 2, got {self.n_models}")
        if not 0.05 < self.subset < 0.95:
            raise InvalidData(f"subset must be in (0.05, 0.95), got {self.subset}")
        if self.score not in get_args(Score):
            raise InvalidData(f"score must be one of {', '.join(get_args(Score))}, got {self.score!r}")
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, (int, np.integer)):
            raise InvalidData(f"random_state must be a whole number, got {self.random_state!r}")
        if not (hasattr(self.estimator, "fit") or callable(self.estimator)):
            raise InvalidData("estimator must be a classifier or a function train_fn(indices, seed) -> predict")
        size = round(self.subset * n)
        if not 0 < size < n:
            raise InvalidData(f"{n} records are too few for subsets of {self.subset:g} of them")
        if self.n_models < _FEW_MODELS:
            worst = 0.5 * np.sqrt(1 / (self.n_models * self.subset) + 1 / (self.n_models * (1 - self.subset)))
            warnings.warn(f"{self.n_models} models leave a standard error of up to {worst:.2f}", stacklevel=3)
        return size

    def _plan(self, model: int, n: int, size: int) -> tuple[npt.NDArray[np.int64], int]:
        """Subset and seed of one model; they depend on nothing but its number, so that a run can be gone on with."""
        rng = np.random.default_rng([int(self.random_state), model])
        return np.sort(rng.choice(n, size=size, replace=False)), int(rng.integers(2**31))

    def _train_all(
        self, data: Records, test: Records | None, plans: list[tuple[npt.NDArray[np.int64], int]]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        cache = None if self.cache_dir is None else ScoreCache(self.cache_dir, self._fingerprint(data, test))
        kind = np.uint8 if self.score == "correct" else np.float32
        on_train = np.empty((len(plans), len(data.y)), dtype=kind)
        on_test = np.empty((len(plans), 0 if test is None else len(test.y)), dtype=kind)
        missing = []
        for model in range(len(plans)):
            row = None if cache is None else cache.get(model)
            if row is None:
                missing.append(model)
            else:
                on_train[model], on_test[model] = row
        work = (
            delayed(_train_one)(self.estimator, data, test, plans[model], self.score, self.classes_, cache, model)
            for model in missing
        )
        done = Parallel(n_jobs=self.n_jobs, return_as="generator")(work)
        for model, row in zip(missing, self._shown(done, len(missing)), strict=True):
            on_train[model], on_test[model] = row
        return on_train, on_test

    def _shown(self, done: Any, total: int) -> Any:
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        if not shown:
            return done
        from rich.console import Console
        from rich.progress import track

        return track(done, "training models", total=total, console=Console(stderr=True))

    def _fingerprint(self, data: Records, test: Records | None) -> str:
        learner = self.estimator
        named = repr(learner) if hasattr(learner, "fit") else getattr(learner, "__qualname__", type(learner).__name__)
        parts = [data.x, data.y, *(() if test is None else (test.x, test.y))]
        return fingerprint(named, self.subset, self.score, int(self.random_state), *parts)

    def _influence(self) -> sparse.csr_array | npt.NDArray[np.float32]:
        if self.influence_threshold is None:
            return influence_matrix(self.members_, self.test_scores_)
        return influence_above(self.members_, self.test_scores_, self.influence_threshold)

    def memorization_interval(self, confidence: float = 0.95, method: Interval | None = None) -> tuple[Floats, Floats]:
        """Confidence interval of each score by itself; see `Rates.interval`. By default Newcombe's for correctness."""
        if method is None:
            method = "newcombe" if self.score == "correct" else "normal"
        elif self.score == "proba" and method != "normal":
            raise InvalidData(f"{method} is for correctness, 0 or 1; with score='proba' use normal")
        return self.rates_.interval(confidence, method)

    def most_memorized(self, count: int = 10, confidence: float = 0.95) -> pd.DataFrame:
        """The records of highest score: index `record`, and columns label, memorization, lower, upper."""
        order = np.argsort(np.nan_to_num(-self.memorization_, nan=np.inf), kind="stable")[:count]
        lower, upper = self.memorization_interval(confidence)
        columns = {"label": self._y, "memorization": self.memorization_, "lower": lower, "upper": upper}
        return pd.DataFrame({k: v[order] for k, v in columns.items()}, index=pd.Index(order, name="record"))

    def high_influence_pairs(
        self, memorization: float = 0.25, influence: float = 0.15, *, same_label: bool = True
    ) -> pd.DataFrame:
        """Pairs of a memorised training record and a test record that hangs on it.

        Parameters
        ----------
        memorization, influence : float
            Least scores; the influence at least `influence_threshold`.
        same_label : bool
            Only pairs of one label, as in the paper.

        Returns
        -------
        DataFrame
            train, test (indices), label, memorization, influence, the strongest first.
        """
        if not hasattr(self, "influence_"):
            raise InvalidData("influence needs test records: fit(X, y, X_test, y_test)")
        if self.influence_threshold is not None and influence < self.influence_threshold:
            raise InvalidData(f"influence must be at least influence_threshold = {self.influence_threshold:g}")
        found = sparse.coo_array(
            np.nan_to_num(self.influence_) if self.influence_threshold is None else self.influence_
        )
        row, column = found.coords
        keep = (found.data >= influence) & (self.memorization_[row] >= memorization)
        assert self._y_test is not None
        if same_label:
            keep &= self._y[row] == self._y_test[column]
        row, column, values = row[keep], column[keep], found.data[keep]
        order = np.argsort(-values, kind="stable")
        table = {"train": row, "test": column, "label": self._y[row], "memorization": self.memorization_[row]}
        return pd.DataFrame({**{k: v[order] for k, v in table.items()}, "influence": values[order]})

    def epsilon_lower_bound(
        self,
        delta: float = 0.0,
        confidence: float = 0.95,
        *,
        claim: Claim | None = None,
        correction: Correction = "held-out",
    ) -> Evidence:
        """What the most memorised record proves about ε; see `sfumato.training.memorization.epsilon.lower_bound`."""
        if self.score != "correct":
            raise InvalidData("a bound of ε needs score='correct': it counts models that were right")
        return lower_bound(self.members_, self.train_scores_, delta, confidence, claim=claim, correction=correction)


def _train_one(
    learner: Any,
    data: Records,
    test: Records | None,
    plan: tuple[npt.NDArray[np.int64], int],
    kind: Score,
    classes: npt.NDArray[Any],
    cache: ScoreCache | None,
    number: int,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    indices, seed = plan
    model = train(learner, data, indices, seed)
    on_train = score(model, data, kind, classes)
    on_test = on_train[:0] if test is None else score(model, test, kind, classes)
    if cache is not None:
        cache.put(number, on_train, on_test, indices)
    return on_train, on_test
