"""IG beside breaching's objective in a plain torch loop: the same objective, the same search, and its time a step.

`pip install --no-deps breaching==0.1.2` (its own dependencies, torchvision among them, are not needed here), then
`pytest benchmarks/test_gradient_inversion.py -s`. HyperFL's network for MNIST, one image, batch 1, one torch thread.
Measured on two cores shared with others (load 7): 25.1 ms an iteration, 0.97 times the plain loop; both objectives
agree to 1e-5 on fixed inputs, and both searches end at a loss of 0.0657.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from pathlib import Path

import pytest

ITERATIONS = 100


def peer(module: str):
    """A module of breaching's `attacks.auxiliaries`, without importing the package, which wants torchvision."""
    found = importlib.util.find_spec("breaching")
    if found is None or found.origin is None:
        pytest.skip("breaching 0.1.2 is not installed")
    package = types.ModuleType("breaching_auxiliaries")
    package.__path__ = [str(Path(found.origin).parent / "attacks" / "auxiliaries")]
    sys.modules.setdefault("breaching_auxiliaries", package)
    return importlib.import_module(f"breaching_auxiliaries.{module}")


def upload():
    torch = pytest.importorskip("torch")
    from sfumato.attacks.gradient_inversion import View
    from sfumato.data.images import mnist5k
    from sfumato.federation.hypernetwork import make_extractor

    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = mnist5k()
    # Three channels, as breaching's total variation wants them: a network whose first layer takes three.
    extractor = make_extractor("cnn-mnist")
    extractor[0] = torch.nn.Conv2d(3, 16, 5)
    model = torch.nn.Sequential(extractor, torch.nn.Linear(128, 10))
    x = torch.tensor(images[:1].reshape(1, 1, 28, 28)).expand(1, 3, 28, 28).contiguous()
    y = torch.tensor(labels[:1])
    gradient = torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), y), tuple(model.parameters()))
    named = {name: p.detach().numpy() for name, p in model.named_parameters()}
    update = {name: g.numpy() for name, g in zip(named, gradient, strict=True)}
    known = {"shape": (3, 28, 28), "labels": labels[:1]}
    return View(named, update, model, known=known), x, y, list(gradient)


def test_the_objective_is_breachings():
    """On fixed inputs; its total variation takes pixels beyond the edge for zero, so the edge is dark here."""
    torch = pytest.importorskip("torch")
    from sfumato.attacks.gradient_inversion.gradients import loss_gradient
    from sfumato.attacks.gradient_inversion.objectives import cosine_distance, total_variation

    view, _, y, gradient = upload()
    cosine = peer("objectives").CosineSimilarity()
    cosine.initialize(torch.nn.functional.cross_entropy, types.SimpleNamespace(mixed_precision=False))
    tv = peer("regularizers").TotalVariation({"dtype": torch.float32, "device": torch.device("cpu")}, scale=1.0)
    theta = {name: p.requires_grad_() for name, p in view.tensors("parameters").items()}
    for seed in range(5):
        x = torch.rand((1, 3, 28, 28), generator=torch.Generator().manual_seed(seed))
        x[..., -1, :] = x[..., -1] = 0
        ours = loss_gradient(view.model, theta, x, y, torch.nn.functional.cross_entropy)
        theirs = cosine(view.model, gradient, x, y)[0]
        found = float(cosine_distance(ours, view.tensors("update")).detach())
        assert found == pytest.approx(float(theirs.detach()), abs=1e-5)
        assert float(total_variation(x)) == pytest.approx(float(tv(x)), abs=1e-5)


def test_a_search_beside_a_plain_loop_on_breachings_objective(capsys):
    torch = pytest.importorskip("torch")
    from sfumato.attacks.gradient_inversion import GradientInversion

    view, x, y, gradient = upload()
    GradientInversion("ig", 2, random_state=0).run(view)  # torch loads parts of itself at the first use
    # Without total variation, of which the two differ at the edge: signs of a gradient amplify any difference.
    attack = GradientInversion("ig", ITERATIONS, tv=0.0, random_state=0)
    start = time.perf_counter()
    attack.run(view, x.numpy())
    ours = time.perf_counter() - start

    cosine = peer("objectives").CosineSimilarity()
    cosine.initialize(torch.nn.functional.cross_entropy, types.SimpleNamespace(mixed_precision=False))
    start = time.perf_counter()
    candidate = torch.randn((1, 3, 28, 28), generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([candidate], lr=0.1)
    milestones = [int(ITERATIONS * share) for share in (3 / 8, 5 / 8, 7 / 8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    losses = []
    for _ in range(ITERATIONS):
        optimizer.zero_grad()
        loss = cosine(view.model, gradient, candidate, y)[0]
        loss.backward()
        candidate.grad.sign_()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            candidate.clamp_(0, 1)
    theirs = time.perf_counter() - start
    assert attack.loss_ == pytest.approx(min(losses), rel=0.01)
    with capsys.disabled():
        print(
            f"\nIG, {ITERATIONS} iterations: {1e3 * ours / ITERATIONS:.1f} ms an iteration, loss {attack.loss_:.4f}; "
            f"plain loop on breaching's objective {1e3 * theirs / ITERATIONS:.1f} ms, loss {min(losses):.4f} "
            f"(ratio {ours / theirs:.2f})"
        )
