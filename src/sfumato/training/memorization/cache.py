"""A folder of trained models' scores, so that hundreds of trainings can be stopped and gone on with.

For `MemorizationEstimator`. It holds which records each model got right: it is as private as the records.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sfumato.durable import write_durably
from sfumato.errors import InvalidData


class ScoreCache:
    """Rows of scores under the fingerprint of all that decides them.

    Parameters
    ----------
    folder : path
    fingerprint : str

    Raises
    ------
    InvalidData
        If the folder holds the scores of other data, another learner or other settings.
    """

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        label = self.folder / "run.json"
        if label.exists():
            found = json.loads(label.read_text()).get("fingerprint")
            if found != fingerprint:
                raise InvalidData(f"{self.folder} holds scores of other data, another learner or other settings")
        else:
            write_durably(label, lambda file: file.write(json.dumps({"fingerprint": fingerprint}).encode()), mode=0o600)

    def get(self, model: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Scores of a model on training and test records, or None if it was not trained yet."""
        file = self._file(model)
        if not file.exists():
            return None
        with np.load(file, allow_pickle=False) as row:
            return row["train"], row["test"]

    def put(self, model: int, train: npt.NDArray[Any], test: npt.NDArray[Any], members: npt.NDArray[np.int64]) -> None:
        """Keep the scores of a model, and which records it was trained on."""
        write_durably(
            self._file(model), lambda file: np.savez(file, train=train, test=test, members=members), mode=0o600
        )

    def _file(self, model: int) -> Path:
        return self.folder / f"model-{model:06d}.npz"


def fingerprint(*parts: Any) -> str:
    """Digest of arrays, data frames and anything with a repr."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, pd.DataFrame):
            content = pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes()
            head = f"frame {list(part.columns)} {list(part.dtypes)}"
        elif isinstance(part, np.ndarray):
            content = repr(part.tolist()).encode() if part.dtype.hasobject else np.ascontiguousarray(part).tobytes()
            head = f"array {part.dtype} {part.shape}"
        else:
            head, content = type(part).__name__, repr(part).encode()
        digest.update(f"{head} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()
