"""Likeness of images, and whose image it was."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato import ApproxDP, Claim, Heuristic, PureDP
from sfumato.attacks.gradient_inversion import (
    gallery_ranks,
    identification,
    identification_ceiling,
    matched,
    psnr,
    ssim,
    suspects,
)
from sfumato.errors import InvalidClaim, InvalidData

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 1, 8, 8))


def test_psnr_is_that_of_its_definition_and_infinite_for_equals():
    assert psnr(np.zeros((1, 1, 8, 8)), np.full((1, 1, 8, 8), 0.1)) == pytest.approx(20.0)
    assert psnr(IMAGES, IMAGES).tolist() == [math.inf] * 5


def test_ssim_is_one_for_equals_and_less_for_noise():
    assert ssim(IMAGES, IMAGES) == pytest.approx(np.ones(5))
    assert (ssim(IMAGES, IMAGES[::-1])[[0, 4]] < 0.5).all()
    assert ssim(np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4))).shape == (1,)


@given(st.permutations(range(5)))
def test_the_order_of_reconstructions_is_found(order):
    found = np.clip(IMAGES[list(order)] + 0.01, 0, 1)
    assert np.allclose(found[matched(IMAGES, found)], np.clip(IMAGES + 0.01, 0, 1))


def test_the_rank_counts_the_gallery_images_that_are_nearer():
    gallery = np.stack([np.full((1, 8, 8), x) for x in (0.0, 0.2, 0.5, 0.9)])
    assert gallery_ranks(gallery[[2]], gallery[[2]], gallery).tolist() == [1]
    assert gallery_ranks(np.full((1, 1, 8, 8), 0.05), gallery[[2]], gallery).tolist() == [3]
    with pytest.raises(InvalidData, match="every true image"):
        gallery_ranks(gallery[[2]], gallery[[2]] + 0.01, gallery)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: psnr(IMAGES, IMAGES * 3), r"must lie in \[0, 1\]"),
        (lambda: psnr(IMAGES, IMAGES[0]), "must have shape"),
        (lambda: psnr(IMAGES, IMAGES[:2]), "one shape"),
        (lambda: psnr(IMAGES * np.nan, IMAGES), r"must lie in \[0, 1\]"),
        (lambda: ssim(IMAGES[..., :2], IMAGES[..., :2]), "3 x 3"),
        (lambda: identification([0, 1], 10, attack="a"), "ranks must be"),
        (lambda: identification_ceiling(Claim(PureDP(1.0)), 0), "gallery"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, said):
    with pytest.raises(InvalidData, match=said):
        call()


def test_the_ceiling_is_that_of_the_claim_and_chance_at_zero():
    assert identification_ceiling(Claim(PureDP(1.0)), 1000) == pytest.approx(math.e / 1000, rel=1e-6)
    assert identification_ceiling(Claim(ApproxDP(4.0, 1e-5)), 1000) == pytest.approx(math.exp(4) / 1000 + 1e-5)
    assert identification_ceiling(Claim(ApproxDP(30.0, 1e-5)), 10) == 1.0
    with pytest.raises(InvalidClaim):
        identification_ceiling(Claim(Heuristic("hidden")), 10)


def test_no_mechanism_under_pure_dp_beats_the_ceiling():
    """Randomized response over the gallery is the best there is: it comes near and stays below."""
    size, epsilon = 20, 2.0
    best = math.exp(epsilon) / (math.exp(epsilon) + size - 1)
    ceiling = identification_ceiling(Claim(PureDP(epsilon), neighbours="replace-one"), size)
    assert 0.7 * ceiling < best <= ceiling


@pytest.mark.parametrize(
    ("claim", "ranks", "verdict"),
    [
        (Claim(ApproxDP(1.0, 1e-5)), [1] * 5 + [7] * 5, "falsified"),
        (Claim(ApproxDP(1.0, 1e-5)), [7] * 10, "consistent"),
        (Claim(Heuristic("inversion is hard")), [1] * 5 + [7] * 5, "falsified"),
        (Claim(Heuristic("inversion is hard")), [7] * 10, "consistent"),
        (None, [1] * 10, "inconclusive"),
        (Claim(ApproxDP(1.0, 1e-5), void="seeded"), [1] * 10, "inconclusive"),
    ],
)
def test_the_verdict_is_against_what_the_claim_allows(claim, ranks, verdict):
    evidence = identification(ranks, 1000, claim, attack="a test")
    assert evidence.verdict == verdict
    assert evidence.value == pytest.approx(np.mean(np.array(ranks) == 1))


def test_a_gallery_names_the_image_of_an_exact_gradient_and_of_a_scaled_one(lab):
    images, labels = lab.digits(40, torch.float32)
    model = lab.mlp(dtype=torch.float32)
    uploads = [lab.plain_view(model, images[[i]], labels[[i]]).update for i in (3, 17)]
    for change in ({"clip": 100.0}, {}):
        scores = suspects(uploads, lab.arrays(model), model, images.numpy(), labels.numpy(), **change)
        assert scores.argmax(axis=1).tolist() == [3, 17]
    with pytest.raises(InvalidData, match="labels"):
        suspects(uploads, lab.arrays(model), model, images.numpy(), labels.numpy()[:3])


def test_and_that_of_a_clipped_one(lab):
    images, labels = lab.digits(40, torch.float32)
    model = lab.mlp(dtype=torch.float32)
    upload = lab.plain_view(model, images[[5]], labels[[5]]).update
    norm = np.sqrt(sum(np.square(u).sum() for u in upload.values()))
    clipped = {name: u * 0.1 / norm for name, u in upload.items()}
    scores = suspects([clipped], lab.arrays(model), model, images.numpy(), labels.numpy(), clip=0.1)
    assert scores.argmax() == 5
