"""The searches: what they match, that they find it, and what they refuse."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sfumato import ApproxDP, Claim
from sfumato.attacks.gradient_inversion import (
    GradientInversion,
    View,
    label_counts,
    label_of_one,
    psnr,
    total_variation,
)
from sfumato.attacks.gradient_inversion.objectives import cosine_distance, sign_distance, squared_distance
from sfumato.data.images import mnist5k
from sfumato.errors import AttackNotApplicable, InvalidData


@pytest.mark.parametrize("seed", range(5))
def test_a_first_linear_layer_gives_its_input_away(lab, seed):
    images, labels = lab.digits(1, torch.float32, start=seed)
    view = lab.plain_view(lab.mlp(nn.ReLU, torch.float32), images, labels)
    attack = GradientInversion("analytic")
    attack.run(view, images.numpy())
    assert np.abs(attack.images_ - images.numpy()).max() < 1e-5


def test_of_a_batch_it_gives_mixtures_and_says_so(lab):
    images, labels = lab.digits(3)
    view = lab.plain_view(lab.mlp(nn.ReLU), images, labels)
    attack = GradientInversion("analytic", dtype="float64")
    evidence = attack.run(view, images.numpy())
    assert attack.images_.shape == (3, 1, 8, 8)
    assert any("mixtures" in note for note in evidence.notes)


@pytest.mark.parametrize("start", [0, 100, 200])
def test_labels_are_read_off_the_last_layer(lab, start):
    images, labels = lab.digits(1, start=start)
    model = lab.mlp()
    head = torch.as_tensor(lab.plain_view(model, images, labels).update["3.bias"])
    assert label_of_one(head) == int(labels[0])
    images, labels = lab.digits(16, start=start)
    head = torch.as_tensor(lab.plain_view(model, images, labels).update["3.bias"])
    counts = label_counts(head, 16)
    assert counts.sum() == 16
    assert np.abs(counts - np.bincount(labels, minlength=10)).sum() <= 4


def test_the_distances_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    a, b = ({k: torch.tensor(rng.normal(size=s)) for k, s in (("w", (3, 4)), ("b", (3,)))} for _ in range(2))
    flat = [np.concatenate([x["w"].numpy().ravel(), x["b"].numpy()]) for x in (a, b)]
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    assert float(cosine_distance(a, b)) == pytest.approx(1 - cosine, abs=1e-12)
    assert float(squared_distance(a, b)) == pytest.approx(np.square(flat[0] - flat[1]).sum(), rel=1e-12)
    soft = [each / (np.abs(each) + 0.3 * np.sqrt(np.square(each).mean())) for each in (a["w"].numpy(), a["b"].numpy())]
    ours, signs = np.concatenate([each.ravel() for each in soft]), np.sign(flat[1])
    cosine = ours @ signs / np.linalg.norm(ours) / np.linalg.norm(signs)
    told = {name: each.sign() for name, each in b.items()}
    assert float(sign_distance(a, told)) == pytest.approx(1 - cosine, abs=1e-12)
    assert float(sign_distance({n: 7 * g for n, g in a.items()}, told)) == pytest.approx(1 - cosine, abs=1e-12)
    x = rng.random((2, 3, 5, 6))
    expected = (np.abs(np.diff(x, axis=2)).sum() + np.abs(np.diff(x, axis=3)).sum()) / x.size
    assert float(total_variation(torch.tensor(x))) == pytest.approx(expected, rel=1e-12)


def test_dlg_finds_the_digit_and_its_label_in_8_of_10_seeds(lab):
    """Zhu et al.'s setting: smooth activations, labels unknown."""
    hits = 0
    for seed in range(10):
        torch.manual_seed(seed)
        images, labels = lab.digits(1, start=10 * seed)
        view = lab.plain_view(lab.mlp(nn.Sigmoid), images, labels)
        attack = GradientInversion("dlg", 60, restarts=2, dtype="float64", random_state=seed)
        attack.run(view, images.numpy())
        error = np.square(attack.images_ - images.numpy()).mean()
        hits += error < 1e-3 and attack.labels_[0] == labels[0]
    assert hits >= 8


def test_idlg_reads_the_label_and_finds_the_digit(lab):
    images, labels = lab.digits(1)
    attack = GradientInversion("idlg", 60, restarts=2, dtype="float64", random_state=0)
    attack.run(lab.plain_view(lab.mlp(), images, labels), images.numpy())
    assert attack.labels_.tolist() == labels.tolist()
    assert attack.psnr_[0] > 30


def _classifier(lab):
    return nn.Sequential(lab.convolutional(torch.float32), nn.Linear(24, 10))


def test_ig_beats_a_guess_by_8_decibels_on_mnist_and_names_the_digit(lab):
    """The guess is a random image of the box; the gallery has a thousand digits."""
    every, labels = mnist5k()
    gallery = every[::5].reshape(-1, 1, 28, 28)
    x, y = torch.tensor((gallery[:1] - 0.1307) / 0.3081), torch.tensor(labels[:1])
    known = {"shape": (1, 28, 28), "mean": [0.1307], "std": [0.3081]}
    view = lab.plain_view(lab.mnist_classifier(), x, y, known=known)
    attack = GradientInversion("ig", 150, random_state=0)
    evidence = attack.run(view, gallery[:1], gallery=gallery, claim=Claim(ApproxDP(0.5, 1e-5), unit="silo"))
    guess = np.random.default_rng(0).random(gallery[:1].shape)
    assert attack.psnr_[0] > 8 + psnr(gallery[:1], guess)[0]
    assert attack.rank_.tolist() == [1]
    assert evidence.verdict == "falsified"


def test_signs_alone_name_the_digit_and_give_some_of_it(lab):
    every, labels = mnist5k()
    gallery = every[::5].reshape(-1, 1, 28, 28)
    x, y = torch.tensor((gallery[:1] - 0.1307) / 0.3081), torch.tensor(labels[:1])
    known = {"shape": (1, 28, 28), "mean": [0.1307], "std": [0.3081], "labels": labels[:1]}
    whole = lab.plain_view(lab.mnist_classifier(), x, y, known=known)
    view = View(whole.parameters, {n: np.sign(g) for n, g in whole.update.items()}, whole.model, known=known)
    attack = GradientInversion("signs", 150, tv=0.1, random_state=0)
    attack.run(view, gallery[:1], gallery=gallery)
    guess = np.random.default_rng(0).random(gallery[:1].shape)
    assert attack.psnr_[0] > 3 + psnr(gallery[:1], guess)[0]
    assert attack.rank_.tolist() == [1]


def test_restarts_are_kept_by_loss_and_seeds_reproduce(lab):
    images, labels = lab.digits(1, torch.float32)
    view = lab.plain_view(_classifier(lab), images, labels)
    runs = [GradientInversion("ig", 20, restarts=3, random_state=1) for _ in range(2)]
    for attack in runs:
        evidence = attack.run(view)
    assert attack.loss_ == min(attack.losses_)
    assert len(set(attack.losses_)) == 3
    assert np.array_equal(runs[0].images_, runs[1].images_)
    assert evidence.value == attack.loss_
    assert evidence.verdict == "inconclusive"
    assert attack.psnr_ is None


def test_standardised_images_come_back_in_grey_values(lab):
    images, labels = lab.digits(1, torch.float32)
    model = lab.mlp(nn.ReLU, torch.float32)
    view = lab.plain_view(model, (images - 0.3) / 0.4, labels)
    known = {"shape": (1, 8, 8), "mean": [0.3], "std": [0.4]}
    view = lab.plain_view(model, (images - 0.3) / 0.4, labels, known=known, update=view.update)
    attack = GradientInversion("analytic")
    attack.run(view, images.numpy())
    assert np.abs(attack.images_ - images.numpy()).max() < 1e-4


def test_the_network_is_left_alone_and_activations_in_place_do_no_harm(lab):
    images, labels = lab.digits(1, torch.float32)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 10))
    view = lab.plain_view(model, images, labels)
    before = lab.arrays(model)
    attack = GradientInversion("ig", 5, random_state=0)
    attack.run(view, images.numpy())
    assert model[1].inplace
    assert all(np.array_equal(before[name], after) for name, after in lab.arrays(model).items())


def test_when_every_restart_is_nan_the_evidence_is_inconclusive(lab):
    images, labels = lab.digits(1, torch.float32)
    attack = GradientInversion(
        "ig", 5, restarts=2, loss=lambda logits, y: nn.functional.cross_entropy(logits, y) * float("nan")
    )
    evidence = attack.run(lab.plain_view(_classifier(lab), images, labels), images.numpy())
    assert attack.images_ is None
    assert evidence.verdict == "inconclusive"
    assert evidence.samples == 2
    assert "NaN" in evidence.notes[0]


class _Steps(nn.Module):
    def forward(self, x):
        return torch.sign(x)


def test_a_network_that_cannot_be_differentiated_twice_is_refused(lab):
    images, labels = lab.digits(1)
    model = nn.Sequential(nn.Flatten(), _Steps(), nn.Linear(64, 10)).double()
    with pytest.raises(AttackNotApplicable, match="twice"):
        GradientInversion("ig", 5, dtype="float64").run(lab.plain_view(model, images, labels))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"iterations": 0}, "iterations"),
        ({"restarts": True}, "restarts"),
        ({"tv": -1.0}, "tv"),
        ({"rate": 0.0}, "rate"),
        ({"dtype": "float16"}, "dtype"),
        ({"level": 1.0}, "level"),
    ],
)
def test_wrong_parameters_are_named(lab, changed, said):
    images, labels = lab.digits(1)
    with pytest.raises(InvalidData, match=said):
        GradientInversion(**changed).run(lab.plain_view(lab.mlp(), images, labels))


def test_a_view_without_what_the_attack_needs_is_refused(lab):
    images, labels = lab.digits(1)
    model = lab.mlp()
    view = lab.plain_view(model, images, labels, known={})
    with pytest.raises(InvalidData, match=r"lacks known\['shape'\]"):
        GradientInversion("ig", 5).run(view)
    update = {name: u for name, u in view.update.items() if name == "1.weight"}
    with pytest.raises(InvalidData, match="last layer's bias"):
        GradientInversion("ig", 5).run(lab.plain_view(model, images, labels, update=update))
    with pytest.raises(AttackNotApplicable, match="begin with a linear layer"):
        GradientInversion("analytic").run(lab.plain_view(model, images, labels, update=update))
    parameters = {name: p for name, p in view.parameters.items() if name != "3.bias"}
    given = {"parameters": parameters, "update": update, "known": {"shape": (1, 8, 8), "labels": [0]}}
    with pytest.raises(InvalidData, match=r"parameters\['3.bias'\]"):
        GradientInversion("ig", 5).run(lab.plain_view(model, images, labels, **given))
    with pytest.raises(InvalidData, match="must be a View"):
        GradientInversion().run("a view")


def test_a_truth_is_checked_before_the_search(lab):
    images, labels = lab.digits(1)
    view, attack = lab.plain_view(lab.mlp(), images, labels), GradientInversion("ig", 10**6)
    with pytest.raises(InvalidData, match="truth must have shape"):
        attack.run(view, images.numpy()[:, :, :4])
    with pytest.raises(InvalidData, match="gallery needs a truth"):
        attack.run(view, gallery=images.numpy())
    with pytest.raises(InvalidData, match="every true image"):
        attack.run(view, images.numpy(), gallery=images.numpy() / 2)


def test_a_batch_is_told_apart(lab):
    images, labels = lab.digits(2)
    view = lab.plain_view(lab.mlp(nn.Sigmoid, hidden=64), images, labels)
    attack = GradientInversion("idlg", 60, restarts=2, dtype="float64", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack.run(view, images.numpy())
    assert sorted(attack.labels_) == sorted(labels.tolist())
    assert attack.psnr_.min() > 20
