"""Tools for the contract suite: coupled releases, and broken twins of any mechanism that draws inside a `Release`.

A coupled run forces the outputs of each draw to be equal on two neighbours, so that both take the same path, and
compares what the draws were about to hide: it may differ by the declared sensitivity and no more.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
import pytest

from sfumato.privacy import noise, quantized, unary
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.release import PrepaidNoise, Release


@dataclass(frozen=True)
class Draw:
    """One draw: what it was about to hide, the sensitivity it declared, and what came out."""

    kind: str
    values: np.ndarray
    declared: dict
    output: object

    def distance(self, other):
        """Distance to another draw's values over the declared sensitivity: at most 1."""
        gap = np.abs(self.values.astype(float) - other.values.astype(float))
        if self.kind == "discrete_laplace":
            return gap.sum() / float(self.declared["l1_sensitivity"])
        if self.kind == "discrete_gaussian":
            return np.sqrt((gap**2).sum()) / float(self.declared["l2_sensitivity"])
        if self.kind in ("randomized_response", "unary_encoding"):  # one unit owns one entry, whatever it changes to
            return float((gap > 0).sum()) / self.declared.get("entries", 1)  # or as many as were prepaid
        if self.kind.endswith("_quantization"):
            moved = gap.max() if self.declared["norm"] == "linf" else np.sqrt((gap**2).sum())
            return moved / float(self.declared["sensitivity"])
        if self.kind == "bernoulli":  # it hides nothing
            return 0.0
        return gap.max() / float(self.declared["sensitivity"])


def coupled_distance(run, first, second, rng):
    """Run on both neighbours with the same outputs; the largest distance of a draw over its declared sensitivity."""
    recorded = _record(run, first, rng)
    replayed = _record(run, second, rng, forced=recorded)
    assert len(recorded) == len(replayed), "the neighbours draw a different number of times: that shows"
    assert recorded, "nothing was drawn inside a release"
    worst = 0.0
    for a, b in zip(recorded, replayed, strict=True):
        assert (a.kind, a.declared, a.values.shape) == (b.kind, b.declared, b.values.shape), "the draw itself differs"
        worst = max(worst, a.distance(b))
    return worst


def _record(run, data, rng, forced=None):
    draws = []

    def recording(kind, choose_output):
        def draw(self, values, **declared):
            array = np.asarray(values)
            output = choose_output(array) if forced is None else forced[len(draws)].output
            draws.append(Draw(kind, array.copy(), declared, output))
            return output.copy() if isinstance(output, np.ndarray) else output

        return draw

    def choose(self, scores, *, copies=None, **declared):
        candidates = scores if copies is None else np.repeat(scores, copies)  # runs written out: one score a candidate
        return recording("choose", lambda each: int(rng.integers(len(each))))(self, candidates, **declared)

    def noisy(values):
        return values.astype(np.int64) + rng.integers(-3, 4, values.shape)

    def bits(values):  # of at most 8 categories, packed
        return rng.integers(0, 256, (len(values), 1), np.uint8)

    def levels(values):
        return rng.integers(0, 3, values.shape).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        for kind in ("randomized_quantization", "binomial_quantization"):
            patch.setattr(PrepaidNoise, kind, recording(kind, levels))
        for scope in (Release, PrepaidNoise):
            patch.setattr(scope, "discrete_laplace", recording("discrete_laplace", noisy))
            patch.setattr(scope, "discrete_gaussian", recording("discrete_gaussian", noisy))
        for scope in (Release, PrepaidNoise):
            patch.setattr(scope, "randomized_response", recording("randomized_response", lambda values: values))
        patch.setattr(Release, "unary_encoding", recording("unary_encoding", bits))
        patch.setattr(Release, "choose", choose)
        coins = recording("bernoulli", lambda nothing: rng.random(nothing.shape) < 0.5)
        patch.setattr(PrepaidNoise, "bernoulli", lambda self, p, size: coins(self, np.zeros(size), p=p))
        run(data)
    return draws


@contextlib.contextmanager
def captured(into):
    """Append what each draw of a release lets out: all that anybody outside can compute from."""
    names = ("discrete_laplace", "discrete_gaussian", "randomized_response", "unary_encoding", "choose")
    with pytest.MonkeyPatch.context() as patch:
        for scope, name in [(Release, name) for name in names] + [(PrepaidNoise, name) for name in names[:2]]:

            def draw(self, *values, original=getattr(scope, name), **declared):
                output = original(self, *values, **declared)
                into.append(np.ravel(output))
                return output

            patch.setattr(scope, name, draw)
        yield


@contextlib.contextmanager
def less_noise(factor=2):
    """All noise at a fraction of its scale; choices at that multiple of their ε."""
    laplace, gaussian, choice = noise.discrete_laplace, noise.discrete_gaussian, noise.exponential_choice
    response, encoding = noise.randomized_response, unary.unary_encoding
    rounding, coins = quantized.randomized_quantization, quantized.binomial_quantization

    def spread(positions, centre):  # as if the levels ended closer to the clip
        return np.clip(centre + factor * (positions - centre), 1, 2 * centre - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "discrete_laplace", lambda scale, size, entropy: laplace(scale / factor, size, entropy))
        patch.setattr(
            noise, "discrete_gaussian", lambda sigma2, size, entropy: gaussian(sigma2 / factor**2, size, entropy)
        )
        patch.setattr(
            noise,
            "randomized_response",
            lambda categories, k, epsilon, entropy: response(categories, k, factor * epsilon, entropy),
        )
        patch.setattr(
            unary,
            "unary_encoding",
            lambda categories, k, epsilon, entropy: encoding(categories, k, factor * epsilon, entropy),
        )
        patch.setattr(
            quantized,
            "randomized_quantization",
            lambda positions, levels, keep, entropy: rounding(
                spread(positions, levels - 1 << 31), levels, 1 - (1 - keep) / factor, entropy
            ),
        )
        patch.setattr(
            quantized,
            "binomial_quantization",
            lambda positions, trials, entropy: coins(spread(positions, 1 << 31), trials, entropy),
        )
        patch.setattr(
            noise,
            "exponential_choice",
            lambda scores, epsilon, sensitivity, entropy, copies=None: choice(
                scores, factor * epsilon, sensitivity, entropy, copies
            ),
        )
        yield


@contextlib.contextmanager
def a_reused_draw():
    """Every release starts from the same key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sfumato.privacy.release.Entropy", lambda seed=None: Entropy(7))
        yield
