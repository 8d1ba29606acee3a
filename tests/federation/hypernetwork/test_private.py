"""The sound variants, HyperFL's and the baselines': clipping, noise, what one unit can move; twins that are caught."""

import contextlib

import numpy as np
import pytest
import torch
from coupling import coupled_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from small_silos import Watching, silos
from torch import nn

from sfumato import ZCDP, ApproxDP, Claim, PureDP, Release
from sfumato.errors import InvalidClaim, InvalidData, TooFewParties
from sfumato.federation import InProcess
from sfumato.federation.hypernetwork import FederatedAveraging, HyperFL, hyper_work, local_steps, private
from sfumato.federation.hypernetwork.private import Privacy, clipped_sum
from sfumato.privacy.ledger import Ledger

SMALL = {"embedding_dim": 2, "hidden_dim": 2, "rounds": 1, "local_epochs": 2, "batch_size": 3, "random_state": 0}


def fit(share=None, **change):
    """HyperFL, or the baseline that shares so much."""
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Tanh(), nn.Linear(2, 2))
    given = {"extractor": extractor, "num_classes": 3, "claim": ZCDP(0.5), "embedding_seed": 0, **SMALL, **change}
    if share is None:
        return HyperFL(**given)
    hyper_only = ("embedding_seed", "embedding_dim", "hidden_dim")
    return FederatedAveraging(share=share, **{name: value for name, value in given.items() if name not in hyper_only})


def train(data, **change):
    fit(**change).fit([data])


def neighbours(rng, rows=6):
    """One record is replaced by another; scales far below and far above the clipping norm."""
    images, labels = silos(1, rows)[0]
    images = images * np.float32(10 ** rng.uniform(-1, 2))
    other, place = (images.copy(), labels.copy()), int(rng.integers(rows))
    other[0][place] = -10 * images[place]
    other[1][place] = (labels[place] + 1) % 3
    return (images, labels), other


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.floats(1e-3, 1e3))
def test_a_record_moves_the_sum_of_joint_gradients_by_at_most_2c(seed, norm):
    rng = np.random.default_rng(seed)
    shapes = {"theta/a": (5, 3, 2), "head/b": (5, 4)}

    def gradients():
        scale = torch.from_numpy(10 ** rng.uniform(-3, 4, 5))
        return {
            name: torch.from_numpy(rng.normal(size=shape)) * scale.view(-1, *[1] * (len(shape) - 1))
            for name, shape in shapes.items()
        }

    one, other = gradients(), gradients()
    for name in one:
        other[name][1:] = one[name][1:]
    first, second = clipped_sum(one, norm), clipped_sum(other, norm)
    moved = sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5
    assert moved <= 2 * norm * (1 + 1e-9)


def test_small_gradients_are_left_as_they_are_and_broken_ones_count_for_nothing():
    rows = {"a": torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 0.0]])}
    assert torch.allclose(clipped_sum(rows, 1.0)["a"], torch.tensor([0.9, 1.2], dtype=torch.double))


def other_silo(rng):
    """Another silo altogether; one step towards the other class, so that clipped uploads point apart."""
    images, labels = np.float32(rng.normal(size=(6, 1, 8, 8)) + rng.normal()), np.zeros(6, np.int64)
    return (images, labels), (images, labels + 1)


@pytest.mark.parametrize("share", [None, "all", "extractor"])
@pytest.mark.parametrize(
    ("draw", "change"),
    [
        (neighbours, {"unit": "record"}),
        (other_silo, {"unit": "silo", "num_classes": 2, "head_epochs": 0, "clip_norm": 1e-3}),
    ],
    ids=["record", "silo"],
)
def test_one_unit_moves_each_draw_by_what_is_declared_and_no_more(draw, change, share):
    rng = np.random.default_rng(0)
    distances = [coupled_distance(lambda data: train(data, share=share, **change), *draw(rng), rng) for _ in range(10)]
    assert max(distances) <= 1 + 1e-9
    assert max(distances) > 0.5


@contextlib.contextmanager
def psi_without_noise():
    """Twin: the classifier moves by the true mean gradient of its batch."""
    each, raw = private.StepNoise.__call__, {}

    def remember(gradients, norm):
        total = clipped_sum(gradients, norm)
        raw.update({name: value.float() for name, value in total.items() if name.startswith("head/")})
        return total

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_steps, "clipped_sum", remember)
        patch.setattr(private.StepNoise, "__call__", lambda self, sums: {**each(self, sums), **raw})
        yield


@contextlib.contextmanager
def clipped_on_theta_only():
    """Twin: psi's gradient is noised but not clipped."""

    def theta_only(gradients, norm):
        theta = {name: value for name, value in gradients.items() if name.startswith("theta/")}
        rest = {name: value.double().sum(0) for name, value in gradients.items() if name not in theta}
        return {**clipped_sum(theta, norm), **rest}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_steps, "clipped_sum", theta_only)
        yield


@contextlib.contextmanager
def clipped_apart():
    """Twin: theta's and psi's gradients are each clipped to the norm, as if they were one each."""

    def apart(gradients, norm):
        parts = [
            {name: value for name, value in gradients.items() if name.startswith(part)} for part in ("theta/", "head/")
        ]
        return {**clipped_sum(parts[0], norm), **clipped_sum(parts[1], norm)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_steps, "clipped_sum", apart)
        yield


@pytest.mark.parametrize("share", [None, "extractor"])
@pytest.mark.parametrize("twin", [psi_without_noise, clipped_on_theta_only, clipped_apart])
def test_twins_of_the_record_variant_move_further(twin, share):
    """Without noise on psi the first step is as it should be: it takes a second one to see what psi gives away.

    Private heads with `psi_without_noise` are the published private baselines, which claim a record's privacy.
    """
    change = {"share": share, "unit": "record", "batch_size": 100, "head_learning_rate": 10_000.0, "clip_norm": 0.1}
    rng = np.random.default_rng(0)
    pairs = [neighbours(rng, 20) for _ in range(8)]

    def distances(pairs):
        return [coupled_distance(lambda data: train(data, **change), *pair, rng) for pair in pairs]

    with twin():
        found = distances(pairs)
    assert max(found) > 1.01
    assert max(distances([pairs[int(np.argmax(found))]])) <= 1 + 1e-9


def test_the_noise_is_what_the_claim_says():
    privacy = Privacy(ZCDP(2.0), "record", 0.5, rounds=4, epochs=5)
    with Release(privacy.round_claim, "test") as release:
        noise = privacy.step_noise(release, 1000)
        zero = {"a": torch.zeros(1000, dtype=torch.double)}
        drawn = torch.stack([noise(zero)["a"] for _ in range(20)])
    # An epoch costs 2/20, so sigma = 2C / sqrt(2 * 0.1); 20,000 draws, five standard errors: below 1e-6.
    sigma = 1.0 / np.sqrt(0.2)
    assert noise.deviation == pytest.approx(sigma, rel=1e-4)
    assert float(drawn.std()) == pytest.approx(sigma, rel=5 / np.sqrt(40_000))


@pytest.mark.parametrize("share", [None, "all", "extractor"])
def test_a_silos_upload_is_clipped_and_nothing_else_is_told(share):
    protocol = Watching(fit(claim=ZCDP(1e12), clip_norm=0.01, rounds=2, share=share).protocol())
    InProcess().run(protocol, silos())
    for _, reply, _ in protocol.seen:
        assert "examples" not in reply
        norm = np.sqrt(sum(float((each.astype(float) ** 2).sum()) for each in reply.values()))
        assert norm == pytest.approx(0.01, rel=1e-3)  # the noise is far below


def test_silos_weigh_the_same_where_their_sizes_are_not_told():
    data = silos()
    data[0] = tuple(each[:2] for each in data[0])
    protocol = Watching(fit(claim=ZCDP(1e12), embedding_seed=1).protocol())
    after = InProcess().run(protocol, data).result
    mean = np.mean([reply["hidden.weight"] for _, reply, _ in protocol.seen], axis=0)
    assert np.allclose(after["hidden.weight"], protocol.work.start()["hidden.weight"] + mean, atol=1e-6)


@pytest.mark.parametrize("share", [None, "all", "extractor"])
@pytest.mark.parametrize("unit", ["silo", "record"])
def test_claims_and_charges(unit, share, tmp_path):
    model = fit(claim=ApproxDP(2.0, 1e-5), unit=unit, rounds=3, share=share)
    rho = model.protocol().work.privacy.rho
    assert Claim(ZCDP(rho)).epsilon_at(1e-5) == pytest.approx(2.0, rel=1e-6)
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("silo", ZCDP(rho * (1 + 1e-9)), unit=unit, neighbours="replace-one")
    runtime = InProcess(ledgers=[(ledger, "silo")])
    model.fit(silos(1), runtime=runtime)
    assert (model.claim_.unit, model.claim_.neighbours) == (unit, "replace-one")
    assert model.claim_.bound == ApproxDP(2.0, 1e-5)
    assert [charge.claim.bound for charge in ledger.history("silo")] == [ZCDP(rho / 3)] * 3
    with pytest.raises(TooFewParties, match="budget"):
        model.fit(silos(1), runtime=runtime)


def test_without_noise_training_would_be_the_plain_one():
    """At a budget beyond all bounds and a norm that clips nothing, phi moves by plain gradients."""
    change = {"unit": "record", "claim": ZCDP(1e13), "clip_norm": 1e3, "batch_size": 6, "local_epochs": 1}
    data = silos(1, 6)[0]
    work = fit(**change).protocol().work
    images, labels = (torch.from_numpy(each) for each in data)
    update, _ = work.round(work.start(), {}, images, labels, [0, 0])
    random = work.settings.random(0, 0)
    network = work.network(work.start())
    v = hyper_work.draw_embedding(2, 0, 0).requires_grad_()
    head = hyper_work.new_head(2, 3, random)
    hyper_work.loss_of(work.extractor, network(v), head, images, labels).backward()
    for name, parameter in network.named_parameters():
        wanted = -0.02 * (parameter.grad + 5e-4 * parameter.detach())
        assert torch.allclose(update[name], wanted, atol=2e-4)


@pytest.mark.parametrize("share", ["all", "extractor"])
def test_a_baseline_without_noise_would_move_by_plain_gradients(share):
    """Theta and psi in one step each; a shared classifier moves at the extractor's rate, a private one at its own."""
    change = {"unit": "record", "claim": ZCDP(1e13), "clip_norm": 1e3, "batch_size": 6, "local_epochs": 1}
    images, labels = (torch.from_numpy(each) for each in silos(1, 6)[0])
    work = fit(share=share, **change).protocol().work
    theta = {name: value.detach().clone().requires_grad_() for name, value in work.extractor.named_parameters()}
    update, kept = work.round(work.start(), {}, images, labels, [0, 0])
    head = {name: value.detach().clone().requires_grad_() for name, value in work._first_head.items()}
    local_steps.loss_of(work.extractor, theta, head, images, labels).backward()
    for name, value in theta.items():
        assert torch.allclose(update[f"theta/{name}"], -0.02 * (value.grad + 5e-4 * value.detach()), atol=2e-4)
    rate = 0.02 if share == "all" else 0.1
    for name, value in head.items():
        moved = torch.from_numpy(kept[f"head/{name}"]) - value.detach()
        assert torch.allclose(moved, -rate * (value.grad + 5e-4 * value.detach()), atol=2e-4)
    assert ("head/weight" in update) == (share == "all")


def test_a_claim_about_nothing_is_refused():
    with pytest.raises(InvalidClaim, match='share="nothing"'):
        fit(share="nothing").protocol()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"claim": PureDP(1.0)}, InvalidClaim, "claim must be ZCDP"),
        ({"claim": ApproxDP(1.0, 0.0)}, InvalidClaim, "rho above 0"),
        ({"unit": "person"}, InvalidClaim, 'unit must be "silo" or "record"'),
        ({"clip_norm": 0}, InvalidClaim, "clip_norm"),
        ({"clip_norm": float("inf")}, InvalidClaim, "clip_norm"),
        (
            {"unit": "record", "extractor": nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.BatchNorm1d(2))},
            InvalidData,
            "batch normalisation",
        ),
    ],
)
@pytest.mark.parametrize("share", [None, "all"])
@pytest.mark.filterwarnings("ignore:statistics of normalisation")
def test_bad_claims_are_refused_before_anything_is_spent(change, error, match, share):
    with pytest.raises(error, match=match):
        fit(share=share, **change).fit(silos())
