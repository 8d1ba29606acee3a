"""Attacks of study 46: what one round's sign mask tells about the records it was trained on.

Membership by one score (Yeom et al. 2018 for the loss; Nasr et al. 2019 for gradients), and which record of many a mask
of one step came from. Only lower bounds: a better attack tells more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sfumato.evidence import Evidence, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.claim import Claim

_ALPHA = 0.05


def pulls(protocol: Any, x: Any, y: Any) -> Any:
    """How far each record pulls each score in the first step of a run, shape (records, kept)."""
    import torch

    from sfumato.federation.supermask.private import record_gradients
    from sfumato.federation.supermask.training import coded, start_scores

    sub = protocol.subnetwork
    start = start_scores(None, sub.kept, protocol.seed, protocol.training)
    effective = sub.values * coded(start, protocol.training.code)
    return -record_gradients(sub, effective, torch.from_numpy(x), torch.from_numpy(y))


def uploaded(protocol: Any, x: Any, y: Any) -> Any:
    """The signs that a silo with these records uploads in the first round."""
    from sfumato.federation import Message
    from sfumato.federation.supermask import unpack_signs

    request = Message(protocol.requests(protocol.start(), (0,))[0])
    reply, _ = protocol.client_step(request, Message({}), (x, y))
    return unpack_signs(reply["signs"], protocol.subnetwork.kept)


def membership(
    protocol: Any, x: Any, y: Any, claim: Claim, *, records: int, games: int, seed: int
) -> Iterator[Evidence]:
    """Which of two records, drawn alike, was in the silo? Guessed by two scores; the better one of a pair is the guess.

    Each game draws a silo of `records` and one record more, and the silo uploads after one round from the public
    start. Games are independent, so the intervals are exact for this silo size.
    """
    rng = np.random.default_rng([seed, 46])
    scorers: dict[str, Callable[[Any, Any, Any], Any]] = {
        "sign of the pull": _by_pull,
        "loss of the silo's model": _by_loss,
    }
    hits = dict.fromkeys(scorers, 0.0)
    for _ in range(games):
        drawn = rng.choice(len(x), records + 1, replace=False)
        signs = uploaded(protocol, x[drawn[:-1]], y[drawn[:-1]])
        pair = drawn[[0, -1]]
        for name, score in scorers.items():
            member, other = score(protocol, signs, (x[pair], y[pair]))
            hits[name] += float(member > other) + 0.5 * float(member == other)
    for name, count in hits.items():
        low = float(clopper_pearson_lower(np.floor(count), games, _ALPHA / 2))
        high = float(clopper_pearson_upper(np.ceil(count), games, _ALPHA / 2))
        yield Evidence(
            f"membership by the {name}",
            f"success in telling which of two records a silo of {records} holds",
            count / games,
            (low, high),
            1 - _ALPHA,
            games,
            claim,
            "inconclusive",
            notes=("a single score; no shadow models: what a better attack finds is not bounded by this",),
        )


def identification(protocol: Any, x: Any, y: Any, *, batch: int, candidates: int, games: int, seed: int) -> float:
    """Share of one-step masks whose best match among the candidates is a record that the step took.

    The step takes `batch` of the candidates; the guess is the candidate whose pull agrees best with the mask.
    """
    rng = np.random.default_rng([seed, 47])
    single = one_step(protocol, batch)
    hits = 0
    for _ in range(games):
        drawn = rng.choice(len(x), candidates, replace=False)
        signs = uploaded(single, x[drawn[:batch]], y[drawn[:batch]])
        pulled = pulls(single, x[drawn], y[drawn])
        lengths = np.linalg.norm(pulled, axis=1)
        # Scores start positive, so a minus is the news; a plus may be a pull up or none.
        match = (pulled @ (signs - signs.mean())) / np.where(lengths > 0, lengths, 1.0)
        hits += int(np.argmax(match) < batch)
    return hits / games


def _by_pull(protocol: Any, signs: Any, pair: Any) -> Any:
    pulled = pulls(protocol, *pair)
    return pulled @ (signs - signs.mean()) / np.maximum(np.linalg.norm(pulled, axis=1), 1e-12)


def _by_loss(protocol: Any, signs: Any, pair: Any) -> Any:
    import torch

    from sfumato.federation.supermask.training import coded

    sub = protocol.subnetwork
    effective = sub.values * coded(torch.from_numpy(signs), protocol.training.code)
    with torch.no_grad():
        logits = sub.logits(effective, torch.from_numpy(pair[0]))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(pair[1]), reduction="none")
    return -loss.numpy()


def one_step(protocol: Any, batch: int) -> Any:
    """The same subnetwork, with a learning rate that lets a single step of Adam decide every sign."""
    training = dataclasses.replace(protocol.training, batch_size=batch, learning_rate=protocol.training.scores)
    changed = dataclasses.replace(protocol, training=training)
    changed.__dict__["subnetwork"] = protocol.subnetwork  # so that it is not pruned again
    return changed
