"""Contracts of `sfumato.statistics.similarity`."""

import numpy as np
import pytest
from contract import Contract
from sklearn.base import clone

from sfumato import Release
from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, SimilarityClassifier


def copies(run, data, n):
    """n independent copies of each draw of one run, side by side: (n, numbers)."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("discrete_laplace", "discrete_gaussian"):

            def draw(self, values, original=getattr(Release, name), **declared):
                many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
                found.append(many.reshape(n, -1))
                return many[0]

            patch.setattr(Release, name, draw)
        run(data)
    return np.hstack(found).astype(float)


def neighbouring(kind, columns, classes=None):
    """Rows inside and outside of what is clipped, one of them gone or changed."""

    def rows(rng, n):
        return rng.normal(0, 1, (n, columns)), rng.integers(0, classes or 1, n)

    def draw(rng):
        n = int(rng.integers(1, 20))
        x, labels = rows(rng, n)
        who = int(rng.integers(n))
        if kind == "add-remove":
            keep = np.arange(n) != who
            other, other_labels = x[keep], labels[keep]
        else:
            other, other_labels = x.copy(), labels.copy()
            new, label = rows(rng, 1)
            other[who], other_labels[who] = new[0], label[0]
        return ((x, other), ((x, labels), (other, other_labels)))[classes is not None]

    return draw


def in_chunks(estimator, *data):
    """The first row, then the others, then nobody; all released at once."""
    fresh = clone(estimator)
    for chunk in (slice(0, 1), slice(1, None), slice(0, 0)):
        fresh.partial_fit(*(each[chunk] for each in data))
    return fresh.finalize()


def at_once(estimator, *data):
    return estimator.fit(*data)


def entry(name, estimator, columns, pair, far, classes=None, fit=at_once, **change):
    def run(data):
        return fit(estimator, *data) if classes else fit(estimator, data)

    return Contract(
        type(estimator),
        name,
        run(pair[0]).claim_,
        run,
        neighbouring(estimator.neighbours, columns, classes),
        lambda data, n, rng: copies(run, data, n),
        [pair],
        [far],
        **{"trials": 8_000, **change},
    )


def people(*rows):
    return np.array(rows, float).reshape(len(rows), -1)


NOBODY = np.empty((0, 1))
KDE = {"bandwidth": 1.0, "n_features": 1, "random_state": 1}
LABELLED = {"classes": [0, 1], "norm_bound": 1.0, "n_features": 1, "random_state": 1}


def furthest(kde):
    """The two points of a grid whose features differ most."""
    grid = np.linspace(0, 5, 501)[:, np.newaxis]
    fitted = kde.fit(NOBODY).features_
    features = np.array([fitted.total(fitted.steps(point[np.newaxis], kde.bandwidth)) for point in grid])
    apart = np.abs(features[:, np.newaxis] - features).sum(axis=-1)
    return grid[list(np.unravel_index(apart.argmax(), apart.shape))]


REPLACED = PrivateKDE(epsilon=1.0, neighbours="replace-one", **{**KDE, "bandwidth": 0.2})
APART = furthest(REPLACED)

#: A person with a row in each of three chunks is three people: beyond the claim.
CHUNKED = [
    entry(
        "l1-pure-in-chunks",
        PrivateDistanceSum("l1", 1.0, low=0, high=1, levels=2),
        1,
        (people(0.0), NOBODY),
        (people(0.0, 0.0, 0.0), NOBODY),
        fit=in_chunks,
    ),
    entry(
        "zcdp-in-chunks",
        PrivateKDE(rho=0.5, **KDE),
        1,
        (people(0.0), NOBODY),
        (people(0.0, 0.0, 0.0), NOBODY),
        fit=in_chunks,
    ),
    entry(
        "kernel-approximate-in-chunks",
        SimilarityClassifier("kernel", 1.0, delta=1e-5, **LABELLED),
        1,
        ((people(0.0), [1]), (NOBODY, [])),
        ((people(*[0.0] * 8), [1] * 8), (NOBODY, [])),
        classes=2,
        bug=8,
        fit=in_chunks,
    ),
]

CONTRACTS = [
    *CHUNKED,
    entry(
        "l1-pure",
        PrivateDistanceSum("l1", 1.0, low=0, high=1, levels=2),
        1,
        (people(0.0), NOBODY),
        (people(0.0, 0.0, 0.0), NOBODY),
    ),
    entry(
        "l1-zcdp-replaced",
        PrivateDistanceSum("l1", rho=0.5, low=0, high=1, levels=2, neighbours="replace-one"),
        1,
        (people(0.0), people(1.0)),
        (people(0.0, 0.0, 0.0), people(1.0, 1.0, 1.0)),
    ),
    entry(
        "l2-zcdp",
        PrivateDistanceSum("l2", rho=0.5, norm_bound=1.0, levels=1, directions=2, random_state=0),
        2,
        (people((1.0, 0.0)), np.empty((0, 2))),
        (people((1.0, 0.0), (1.0, 0.0), (1.0, 0.0)), np.empty((0, 2))),
        bug=3,
    ),
    entry(
        "squares-pure",
        PrivateDistanceSum("sqeuclidean", 1.0, norm_bound=1.0),
        1,
        (people(1.0), NOBODY),
        (people(1.0, 1.0, 1.0), NOBODY),
    ),
    entry(
        "squares-zcdp-replaced",
        PrivateDistanceSum("sqeuclidean", rho=0.5, norm_bound=1.0, neighbours="replace-one"),
        1,
        (people(1.0), people(-1.0)),
        (people(1.0, 1.0, 1.0), people(-1.0, -1.0, -1.0)),
        bug=3,
    ),
    entry("pure", PrivateKDE(epsilon=1.0, **KDE), 1, (people(0.0), NOBODY), (people(0.0, 0.0, 0.0), NOBODY), bug=4),
    entry("zcdp", PrivateKDE(rho=0.5, **KDE), 1, (people(0.0), NOBODY), (people(0.0, 0.0, 0.0), NOBODY)),
    entry("pure-replaced", REPLACED, 1, (APART[:1], APART[1:]), (APART[[0, 0, 0]], APART[[1, 1, 1]])),
    entry(
        "kernel-approximate",
        SimilarityClassifier("kernel", 1.0, delta=1e-5, **LABELLED),
        1,
        ((people(0.0), [1]), (NOBODY, [])),
        ((people(*[0.0] * 8), [1] * 8), (NOBODY, [])),
        classes=2,
        bug=8,
    ),
    entry(
        "centroid-pure-replaced",
        SimilarityClassifier("centroid", 1.0, neighbours="replace-one", **LABELLED),
        1,
        ((people(1.0), [1]), (people(-1.0), [0])),
        ((people(1.0, 1.0, 1.0), [1, 1, 1]), (people(-1.0, -1.0, -1.0), [0, 0, 0])),
        classes=2,
    ),
]

WITHOUT_A_FORMAL_CLAIM: dict[str, str] = {}
