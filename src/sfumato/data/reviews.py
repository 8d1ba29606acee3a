"""Short templated reviews with a polarity: language of the smallest kind, for studies of tuning language models.

For studies without a network. "the room was calm and the food was very tasty : good". The word lists are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NOUNS = ("room", "food", "staff", "film", "book", "tour", "phone", "lamp", "chair", "coat", "train", "class")
POSITIVE = tuple(
    """amazing beautiful brilliant bright calm charming cheerful clean clever comfortable cozy crisp delicious
    delightful dependable elegant enjoyable excellent exciting fabulous fantastic fine flawless fresh friendly
    fun generous gentle gorgeous graceful great handy happy helpful honest impressive inspiring joyful kind
    lively lovely magnificent marvelous nice outstanding perfect pleasant polite reliable remarkable smooth
    splendid sturdy stunning superb tasty terrific thoughtful warm wonderful""".split()  # noqa: SIM905
)
NEGATIVE = tuple(
    """annoying appalling awful awkward bitter bland boring broken careless chaotic cheap clumsy cold confusing
    cramped crude cruel damp dangerous dirty dismal dreadful dreary dull faulty filthy flawed flimsy foul gloomy
    grim harsh hopeless horrible hostile inferior lousy messy miserable nasty noisy painful poor rotten rude sad
    shabby sloppy sour stale stressful terrible tiresome tragic ugly unfair unreliable useless weak worthless""".split()  # noqa: SIM905
)
_FIXED = ("<pad>", "the", "was", "and", "very", ":", "bad", "good")
VOCABULARY = (*_FIXED, *NOUNS, *POSITIVE, *NEGATIVE)
#: Tokens of the label words, bad and good: labels 0 and 1.
LABEL_WORDS = (VOCABULARY.index("bad"), VOCABULARY.index("good"))
_CODE = {word: code for code, word in enumerate(VOCABULARY)}


def templated_reviews(
    count: int,
    *,
    positive: Sequence[str] = POSITIVE,
    negative: Sequence[str] = NEGATIVE,
    random_state: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw reviews of two clauses, both of one polarity, up to the colon that the label word follows.

    Parameters
    ----------
    count : int
    positive, negative : sequence of str
        Adjectives to draw from.
    random_state : int, optional

    Returns
    -------
    tokens : ndarray of int64, shape (count, 11)
        Places in `VOCABULARY`.
    labels : ndarray of int64, shape (count,)
        1 for good.
    """
    random = np.random.default_rng(random_state)
    labels = random.integers(0, 2, count)
    codes = [np.array([_CODE[word] for word in words]) for words in (negative, positive)]
    nouns = np.array([_CODE[noun] for noun in NOUNS])
    tokens = np.empty((count, 11), np.int64)
    frame = ["the", "_", "was", "_", "and", "the", "_", "was", "very", "_", ":"]

    def adjectives() -> NDArray[np.int64]:
        return np.where(labels == 1, random.choice(codes[1], count), random.choice(codes[0], count))

    blanks = (random.choice(nouns, count), adjectives(), random.choice(nouns, count), adjectives())
    tokens[:] = [_CODE.get(word, 0) for word in frame]
    tokens[:, [place for place, word in enumerate(frame) if word == "_"]] = np.stack(blanks, axis=1)
    return tokens, labels.astype(np.int64)
