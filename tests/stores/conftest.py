"""Stores of both kinds, and exemplars for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.records import Label
from safe_embed.stores.base import Exemplar, ExemplarStore
from safe_embed.stores.memory import MemoryStore
from safe_embed.stores.sqlite import SqliteStore

FINGERPRINT = "f" * 64
DIMENSION = 8


def unit_rows(n: int, dimension: int = DIMENSION, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, dimension), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def exemplar(id_: str, label: Label = "unsafe", text: str = "", **fields: object) -> Exemplar:
    return Exemplar(id=id_, text=text or f"prompt {id_}", label=label, **fields)  # type: ignore[arg-type]


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "mine.store"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, store_path: Path) -> Iterator[ExemplarStore]:
    """Runs a test over every implementation."""
    made: ExemplarStore
    if request.param == "memory":
        made = MemoryStore(FINGERPRINT, DIMENSION)
    else:
        made = SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=DIMENSION)
    yield made
    made.close()
