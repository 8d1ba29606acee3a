"""Causal language models for `SharedRandomnessTuner`: loading them, and a loss on label words.

For prompts such as "<text> sentiment:" with one word to be said after them. Zelikman et al. 2023 (arXiv 2306.10015) put
the loss on the label word, among label words only.
"""

from __future__ import annotations

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
        Handed on: ``gguf_file="model.gguf"``, ``local_files_only=True``.

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


class LabelWordLoss:
    """Cross-entropy of the label word that follows a prompt, among the label words only; one loss an example.

    A batch is (tokens, labels): tokens of shape (batch, length), prompts of equal length or padded on the left; labels
    0 .. k-1 of shape (batch,).

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
