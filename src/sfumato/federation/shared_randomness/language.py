"""Causal language models for `SharedRandomnessTuner`: loading them, and a loss on label words.

For prompts such as "<text> sentiment:" with one word to be said after them. Zelikman et al. 2023 (arXiv 2306.10015) put
the loss on the label word, among label words only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sfumato.errors import InvalidData, MissingExtra


def causal_lm(name_or_folder: str | Path, **options: Any) -> torch.nn.Module:
    """Load a causal language model in float32 and evaluation mode, by ``AutoModelForCausalLM.from_pretrained``.

    Parameters
    ----------
    name_or_folder : str or Path
        A Hub id, or a folder that ``save_pretrained`` wrote.
    **options
        Handed on: ``local_files_only=True``; ``gguf_file="model.gguf"``, for which transformers wants gguf and
        accelerate.

    Raises
    ------
    MissingExtra
        If transformers is not installed.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise MissingExtra("text") from None
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        str(name_or_folder), **{"dtype": torch.float32, **options}
    )
    return model.eval()


class LastLayers(torch.nn.Module):
    """The last layers of a causal language model, for inputs that the layers below have been through.

    Layers below those that are tuned give the same for the same text in every step, so they run once a text and not
    twice a scalar. For models of Llama's kind: ``model.model.layers`` in a row, positions within each layer.

    Parameters
    ----------
    model : torch.nn.Module
        A causal language model of transformers, in evaluation mode. It loses its last layers to this one; the rest of
        it, and the word embedding and output layer, are shared and frozen: ``trainable="layers"`` tunes all layers.
    count : int
        Layers that are kept here.

    Raises
    ------
    InvalidData
        If the model has no such layers, or not more than `count`.
    """

    def __init__(self, model: Any, count: int) -> None:
        super().__init__()
        layers = getattr(getattr(model, "model", None), "layers", None)
        if not isinstance(layers, torch.nn.ModuleList):
            raise InvalidData("model must have its layers in model.model.layers, as Llama has")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < len(layers):
            raise InvalidData(f"count must be a whole number from 1 to {len(layers) - 1}, got {count!r}")
        self.top = copy.copy(model)
        self.top._modules = {**model._modules, "model": copy.copy(model.model)}
        self.top.model._modules = {**model.model._modules, "layers": layers[-count:]}
        # A list: a submodule of its own would enter the hash of the base weights. It ends where the top begins.
        lower = copy.copy(model.model)
        lower._modules = {**model.model._modules, "layers": layers[:-count], "norm": torch.nn.Identity()}
        self._lower = [lower]

    def features(self, tokens: torch.Tensor, *, batch: int = 32) -> torch.Tensor:
        """Return this model's inputs, shape (n, length, width), for prompts of shape (n, length)."""
        with torch.no_grad():
            parts = [self._lower[0](each, use_cache=False).last_hidden_state for each in torch.split(tokens, batch)]
        return torch.cat(parts)

    def forward(self, features: torch.Tensor) -> Any:
        """Return the model's output: ``logits`` of the last place alone."""
        return self.top(inputs_embeds=features, use_cache=False, logits_to_keep=1)


class LabelWordLoss:
    """Cross-entropy of the label word that follows a prompt, among the label words only; one loss an example.

    A batch is (tokens, labels): tokens of shape (batch, length), prompts of equal length or padded on the left; labels
    0 .. k-1 of shape (batch,). For `LastLayers` it is (features, labels).

    Parameters
    ----------
    label_words : sequence of int
        Token of each label.
    """

    def __init__(self, label_words: Sequence[int]) -> None:
        if len(label_words) < 2 or len(set(label_words)) != len(label_words):
            raise InvalidData("label_words must be two or more distinct tokens")
        self.label_words = list(label_words)

    def logits(self, model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the label words after each prompt, shape (batch, k)."""
        last: torch.Tensor = model(tokens).logits[:, -1, self.label_words]
        return last

    def __call__(self, model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return losses of shape (batch,)."""
        tokens, labels = batch
        return torch.nn.functional.cross_entropy(self.logits(model, tokens).float(), labels, reduction="none")
