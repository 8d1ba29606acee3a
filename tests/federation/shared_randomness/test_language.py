"""Language models: loaded from a folder as from the Hub, tuned by scalars, adapters chosen by name."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from one_byte import SEED
from torch.utils.data import TensorDataset

from sfumato.data.reviews import LABEL_WORDS, NEGATIVE, POSITIVE, VOCABULARY, templated_reviews
from sfumato.errors import InvalidData, MissingExtra
from sfumato.federation import InProcess
from sfumato.federation.shared_randomness import (
    LabelWordLoss,
    LastLayers,
    Settings,
    SharedRandomnessProtocol,
    SharedRandomnessTuner,
    causal_lm,
)

LOSS = LabelWordLoss(LABEL_WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.OPTConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=1, num_attention_heads=2,
        ffn_dim=32, max_position_embeddings=32, dropout=0.1, pad_token_id=0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model")
    transformers.OPTForCausalLM(config).half().save_pretrained(path)
    return path


def reviews(seed):
    return TensorDataset(*map(torch.from_numpy, templated_reviews(40, random_state=seed)))


@pytest.mark.slow
def test_a_saved_model_is_loaded_ready_to_tune(folder):
    model = causal_lm(folder, local_files_only=True)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert LOSS(model, reviews(0)[:]).shape == (40,)


@pytest.mark.slow
def test_machines_that_load_one_folder_tune_alike(folder):
    settings = Settings(SEED, lr=5e-3, samples_per_step=6)
    made = SharedRandomnessProtocol(causal_lm(folder), LOSS, settings=settings, steps=8)
    run = InProcess().run(made, [reviews(0), reviews(1)]).result
    joiner = SharedRandomnessTuner(causal_lm(folder), LOSS, settings=settings)
    before = LOSS(joiner.model, reviews(2)[:]).mean().item()
    joiner.replay(run.log.records)
    assert joiner.weights_hash() == run.weights_hash
    assert LOSS(joiner.model, reviews(2)[:]).mean().item() < before


def test_adapters_are_parameters_that_a_name_matches(folder):
    """Those of peft are called lora_A and lora_B; so are these."""

    class Adapted(torch.nn.Module):
        def __init__(self, inner, rank):
            super().__init__()
            self.inner = inner
            self.lora_A = torch.nn.Parameter(torch.randn(rank, inner.in_features) / 4)
            self.lora_B = torch.nn.Parameter(torch.zeros(inner.out_features, rank))

        def forward(self, x):
            return self.inner(x) + x @ self.lora_A.T @ self.lora_B.T

    model = causal_lm(folder)
    attention = model.model.decoder.layers[0].self_attn
    attention.q_proj, attention.v_proj = Adapted(attention.q_proj, 2).eval(), Adapted(attention.v_proj, 2).eval()
    settings = replace(Settings(SEED), trainable="lora_", samples_per_step=2)
    tuner = SharedRandomnessTuner(model, LOSS, settings=settings)
    assert tuner.trainable.size == 4 * 2 * 16
    assert len(tuner.trainable.names) == 4


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny model of the class that SmolLM2's weights load as, saved as such a model is."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=True,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("count", [1, 2])
def test_the_last_layers_give_what_the_whole_model_gives(llama, count):
    model, (tokens, _) = causal_lm(llama), reviews(0)[:]
    with torch.no_grad():
        whole = LOSS.logits(model, tokens)
        last = LastLayers(model, count).eval()
        assert torch.equal(LOSS.logits(last, last.features(tokens, batch=7)), whole)
        assert torch.equal(LOSS.logits(model, tokens), whole)  # the model is as it was


def test_machines_tune_the_last_layers_alike_and_nothing_below(llama):
    settings = Settings(SEED, lr=2e-2, samples_per_step=6, trainable="layers", seed_pool=64)
    one, below = LastLayers(causal_lm(llama), 1).eval(), causal_lm(llama)
    silos = [TensorDataset(one.features(x), y) for x, y in (reviews(0)[:], reviews(1)[:])]
    run = InProcess().run(SharedRandomnessProtocol(one, LOSS, settings=settings, steps=8), silos).result
    model = causal_lm(llama)
    joiner = SharedRandomnessTuner(LastLayers(model, 1).eval(), LOSS, settings=settings)
    assert joiner.trainable.size == sum(p.numel() for p in below.model.layers[2].parameters())
    before = LOSS(joiner.model, silos[0][:]).mean().item()
    joiner.replay(run.log.records)
    assert joiner.weights_hash() == run.weights_hash
    assert LOSS(joiner.model, silos[0][:]).mean().item() < before
    for name, parameter in model.named_parameters():
        same = torch.equal(parameter, dict(below.named_parameters())[name])
        assert same == (not name.startswith("model.layers.2."))


def test_last_layers_of_what_has_none_are_refused(folder, llama):
    with pytest.raises(InvalidData, match=r"model\.model\.layers"):
        LastLayers(causal_lm(folder), 1)  # OPT adds positions below its first layer
    with pytest.raises(InvalidData, match="from 1 to 2, got 3"):
        LastLayers(causal_lm(llama), 3)


def test_a_label_word_loss_needs_two_words():
    with pytest.raises(InvalidData, match="two or more"):
        LabelWordLoss([3])


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match="text"):
        causal_lm("anywhere")


def test_reviews_are_of_one_polarity():
    assert len(POSITIVE) == len(NEGATIVE) == 60
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    tokens, labels = templated_reviews(200, random_state=0)
    words = np.array(VOCABULARY)[tokens]
    assert " ".join(words[0]).startswith("the ")
    for row, label in zip(words, labels, strict=True):
        known = POSITIVE if label else NEGATIVE
        assert row[3] in known
        assert row[9] in known
    assert 60 < labels.sum() < 140
    held = set(np.array(VOCABULARY)[templated_reviews(50, positive=POSITIVE[:2], random_state=1)[0]].ravel())
    assert not held & set(POSITIVE[2:])
