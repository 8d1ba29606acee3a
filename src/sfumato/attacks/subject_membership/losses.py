"""Losses of a black-box model on each subject's samples.

For both attacks: a target is a plain callable that returns probabilities, a fitted scikit-learn classifier or its
`predict_proba`, or a torch module that returns logits.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.subject_membership.federation import Samples
from sfumato.attacks.subject_membership.network import Floats, softmax
from sfumato.errors import InvalidData

#: ``model(x) -> probabilities`` of shape (q, classes), a scikit-learn classifier, or a torch module (logits).
Model: TypeAlias = Callable[[NDArray[Any]], Any] | Any

_LEAST = 1e-30  # what a probability of 0 counts as: a loss of 69, not an infinite one
_SLACK = 1e-3  # by which probabilities may miss a sum of 1: single and half precision


def subject_losses(models: Sequence[Model], subjects: Mapping[Any, Samples]) -> dict[Any, Floats]:
    """Cross-entropy of each model on each sample.

    All subjects go to a model in one call.

    Parameters
    ----------
    models : sequence of Model
    subjects : mapping of subject id to (x, y)
        x of shape (q, …), y of shape (q,); q may differ between subjects.

    Returns
    -------
    dict of subject id to ndarray of float64, shape (models, q)

    Raises
    ------
    InvalidData
        If a subject has no samples, a label is none of the model's classes, or a model does not return one row of
        probabilities for each sample; if they are not finite, the model has diverged and cannot be ranked.
    """
    if not subjects:
        raise InvalidData("subjects must hold at least one subject")
    x, y, lengths = _joined(subjects)
    losses = np.stack([_losses(model, x, y) for model in models])
    ends = np.cumsum(lengths)[:-1]
    return dict(zip(subjects, np.split(losses, ends, axis=1), strict=True))


def _joined(subjects: Mapping[Any, Samples]) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in subjects.values()]
    if any(y.ndim != 1 or len(y) == 0 or len(x) != len(y) for x, y in pairs):
        raise InvalidData("each subject needs samples x of shape (q, …) and labels y of shape (q,), q at least 1")
    if len({x.shape[1:] for x, _ in pairs}) > 1:
        raise InvalidData("all samples must have the same shape")
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]), [len(y) for _, y in pairs]


def _losses(model: Model, x: NDArray[Any], y: NDArray[Any]) -> Floats:
    probabilities = _probabilities(model, x)
    if probabilities.ndim != 2 or len(probabilities) != len(y):
        raise InvalidData("a model must return probabilities of shape (samples, classes)")
    if not np.isfinite(probabilities).all():
        raise InvalidData("a model's probabilities are not finite: it has diverged and cannot be ranked")
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, rtol=0, atol=_SLACK):
        raise InvalidData("a model must return probabilities: not negative, with sum 1 (wrap one that returns logits)")
    column = _columns(model, y, probabilities.shape[1])
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(y)), column], _LEAST)))


def _columns(model: Model, y: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """The column of each label: by the classifier's own `classes_` where it has them."""
    known = getattr(getattr(model, "__self__", model), "classes_", None)
    names = np.arange(classes) if known is None else np.asarray(known)
    order = np.argsort(names)
    place = np.searchsorted(names, y, sorter=order)
    column = order[np.minimum(place, len(names) - 1)]
    if len(names) != classes or (names[column] != y).any():
        raise InvalidData("labels must be among the model's classes")
    return np.asarray(column, dtype=np.int64)


def _probabilities(model: Model, x: NDArray[Any]) -> Floats:
    torch = sys.modules.get("torch")  # a module can only come from a torch that is loaded
    if torch is not None and isinstance(model, torch.nn.Module):
        parameter = next(model.parameters(), None)
        options = {} if parameter is None else {"dtype": parameter.dtype, "device": parameter.device}
        with _evaluating(model), torch.no_grad():
            logits = model(torch.as_tensor(x, **options)).double().cpu().numpy()
        with np.errstate(invalid="ignore"):
            return softmax(logits)
    call = getattr(model, "predict_proba", model)
    if not callable(call):
        raise InvalidData("a model must be a callable, a classifier with predict_proba, or a torch module")
    return np.asarray(call(x), dtype=np.float64)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Set evaluation mode (no dropout, fixed batch norm) and put every part back as it was."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training
