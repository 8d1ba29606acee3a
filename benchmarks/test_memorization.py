"""Memorisation beside cleanlab's label ranking, and what the estimator adds to training; prints the ratios.

`pytest benchmarks/test_memorization.py -s`. cleanlab is not a dependency: without it the first test is skipped. The
task is to find 60 wrong labels among 1,200 digits by the same 60 trees.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from sfumato.studies.memorization_records import flipped_records, self_confidence
from sfumato.training.memorization import MemorizationEstimator
from sfumato.training.memorization.scores import influence_matrix

MODELS = 100


def timed(work):
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def test_wrong_labels_beside_cleanlab(capsys):
    rank = pytest.importorskip("cleanlab.rank")
    x, y, _, _, wrong = flipped_records("digits", 1200, 0)
    trees = ExtraTreesClassifier(60, random_state=0)

    def peer():
        proba = cross_val_predict(trees, x, y, cv=5, method="predict_proba")
        return rank.get_label_quality_scores(y, proba)

    quality, peer_seconds = timed(peer)
    assert quality == pytest.approx(self_confidence(x, y))  # what the study calls cleanlab's
    estimator = MemorizationEstimator(trees, n_models=MODELS, progress=False)
    ours, seconds = timed(lambda: estimator.fit(x, y).memorization_)
    soft, _ = timed(lambda: MemorizationEstimator(trees, n_models=MODELS, score="proba", progress=False).fit(x, y))
    with capsys.disabled():
        print(
            f"\nwrong labels, AUC: cleanlab {roc_auc_score(wrong, -quality):.4f} in {peer_seconds:.1f} s; memorisation "
            f"{roc_auc_score(wrong, ours):.4f} in {seconds:.1f} s ({seconds / peer_seconds:.1f} times), "
            f"by probability {roc_auc_score(wrong, soft.memorization_):.4f}"
        )


def test_what_the_estimator_adds_to_training(capsys):
    x, y, x_test, y_test, _ = flipped_records("digits", 1200, 0)
    for learner in (KNeighborsClassifier(1, algorithm="brute"), ExtraTreesClassifier(60, random_state=0)):
        estimator = MemorizationEstimator(learner, n_models=MODELS, progress=False)
        subsets = [estimator._plan(model, len(y), 840)[0] for model in range(MODELS)]

        def plain(learner=learner, subsets=subsets):
            for subset in subsets:
                model = clone(learner).fit(x[subset], y[subset])
                model.predict(x)
                model.predict(x_test)

        def ours(estimator=estimator):
            estimator.fit(x, y, x_test, y_test)

        _, bare = timed(plain)
        _, whole = timed(ours)
        with capsys.disabled():
            print(
                f"\n{MODELS} times {learner}: scikit-learn {bare:.1f} s, with scores and influence {whole / bare:.2f}"
            )


def test_influence_by_one_product_beside_the_double_loop(capsys):
    rng = np.random.default_rng(0)
    members, correct = rng.random((400, 1200)) < 0.7, rng.integers(2, size=(400, 600)).astype(np.uint8)

    def loop(few=20):
        found = np.empty((few, correct.shape[1]), dtype=np.float32)
        for i in range(few):
            for z in range(correct.shape[1]):
                inside = members[:, i]
                found[i, z] = correct[inside, z].mean() - correct[~inside, z].mean()
        return found

    slow, seconds = timed(loop)
    fast, product = timed(lambda: influence_matrix(members, correct))
    assert fast[:20] == pytest.approx(slow, abs=1e-5)
    with capsys.disabled():
        print(f"\ninfluence, 1200 × 600 × 400 models: {product:.3f} s; the loop would take {seconds * 60:.0f} s")
