"""The attacker that HyperFL was tested with: a random embedding and a random classifier in place of the private ones.

For the column that shows what the published evaluation measured (Guo et al., AAAI 2025). The gradient by the
hypernetwork is an outer product, so that its cosine needs no gradient of millions of entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sfumato.attacks.gradient_inversion.gradients import by_parameters
from sfumato.attacks.gradient_inversion.hypernetwork import check, split
from sfumato.attacks.gradient_inversion.search import Free
from sfumato.attacks.gradient_inversion.setting import Setting
from sfumato.attacks.gradient_inversion.several_steps import mean_gradient


class NaiveHypernetwork:
    """Distance between the upload and the hypernetwork's gradient under guesses v' ~ N(0, 1) and a fresh linear ψ'.

    With z' = ReLU(W v' + b) and θ' = H z' + c, g' the loss's gradient by θ' and e' = (Hᵀ g')∘1[z' > 0], the gradient
    by the hypernetwork is (g' z'ᵀ, g', e' v'ᵀ, e'). Its inner products with itself and with the upload need g' and e'
    only. The guesses stay as they are, and the labels, if not known, are guessed too.
    """

    def __init__(self, setting: Setting) -> None:
        view, dtype = setting.view, setting.dtype
        check(view)
        self.setting = setting
        phi, up = view.tensors("parameters", dtype), mean_gradient(view, dtype)
        count = len(list(setting.model.parameters()))
        self.v = setting.noise(phi["hidden.weight"].shape[1])
        before = phi["hidden.weight"] @ self.v + phi["hidden.bias"]
        self.z, awake = torch.relu(before), before > 0
        heads = torch.cat([phi[f"heads.{k}.weight"] for k in range(count)])
        self.back = heads[:, awake].T.contiguous()  # of e' only these units are not zero
        self.biased = "heads.0.bias" in phi
        theta = heads @ self.z
        # The upload, applied to z' and v': all that an inner product with an outer product needs.
        self.seen = torch.cat([up[f"heads.{k}.weight"] for k in range(count)]) @ self.z
        if self.biased:
            theta = theta + torch.cat([phi[f"heads.{k}.bias"] for k in range(count)])
            self.seen = self.seen + torch.cat([up[f"heads.{k}.bias"] for k in range(count)])
        self.seen_hidden = (up["hidden.weight"] @ self.v + up["hidden.bias"])[awake]
        self.size = torch.stack([u.square().sum() for u in up.values()]).sum().sqrt()
        shapes = {name: tuple(p.shape) for name, p in setting.model.named_parameters()}
        self.theta = {name: p.requires_grad_() for name, p in split(theta, shapes).items()}
        classes = int(view.known["classes"])
        with torch.no_grad():
            features = functional_call(setting.model, self.theta, (setting.start(),)).shape[1]
        # torch's own initialisation of a linear layer.
        self.psi = (2 * torch.rand(classes, features, generator=setting.generator, dtype=dtype) - 1) / features**0.5
        known = setting.labels()
        guessed = torch.randint(classes, (view.batch,), generator=setting.generator)
        self.labels = guessed if known is None else known

    def distance(self, free: Free) -> Tensor:
        """One less the cosine of the two gradients by the hypernetwork."""
        logits = nn.functional.linear(functional_call(self.setting.model, self.theta, (free[0],)), self.psi)
        gradient = by_parameters(self.setting.loss(logits, self.labels), self.theta)
        empty = {name: torch.zeros_like(p) for name, p in self.theta.items()}
        g = torch.cat([gradient.get(name, empty[name]).flatten() for name in self.theta])
        e = self.back @ g
        product = g @ self.seen + e @ self.seen_hidden
        own = g.square().sum() * (self.z.square().sum() + float(self.biased))
        own = own + e.square().sum() * (self.v.square().sum() + 1)
        return 1 - product / (own.sqrt() * self.size).clamp_min(1e-30)
