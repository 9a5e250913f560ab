"""Fixtures shared by all tests: a cache of their own, the paper's files where they are."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

REPOSITORY = Path(__file__).parents[1]
PAPER_DATA_VARIABLE = "SAFE_EMBED_PAPER_DATA"
PAPER_FIGURES_VARIABLE = "SAFE_EMBED_PAPER_FIGURES"


def hear_interrupts() -> None:
    """For `preexec_fn`: a shell starts what it runs in the background deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TableEncoder:
    """An encoder whose vectors a test writes down."""

    name = "table"
    fingerprint = "0" * 64

    def __init__(self, vectors: dict[str, Sequence[float]], average: float | None = 0.0) -> None:
        self.vectors = vectors
        self.dimension = len(next(iter(vectors.values())))
        self.published_average_similarity = average
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += texts
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def _own_directories(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's cache or data."""
    own = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(own / "cache"))
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(own / "data"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would leave this machine fails at once."""
    real_connect = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            assert host in ("127.0.0.1", "::1", "localhost"), f"a test connects to {host}"
        real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


def _shared(variable: str, *parts: str) -> Path:
    chosen = os.environ.get(variable)
    path = Path(chosen) if chosen else REPOSITORY.parent.joinpath("shared", *parts)
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set {variable} to the directory")
    return path


@pytest.fixture(scope="session")
def paper_data() -> Path:
    """Directory of the paper's data files."""
    return _shared(PAPER_DATA_VARIABLE, "data", "safe-embed")


@pytest.fixture(scope="session")
def paper_figures() -> Path:
    """Directory of `published.json` and `golden.json`."""
    return _shared(PAPER_FIGURES_VARIABLE, "paper")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Directory of the default encoder's weights: in the user's cache, or fetched into it."""
    from safe_embed.encoders import catalogue, weights
    from safe_embed.errors import SafeEmbedError

    if chosen := os.environ.get("SAFE_EMBED_MINILM_DIR"):
        return Path(chosen)
    try:
        return weights.fetch(catalogue.row("minilm"))
    except SafeEmbedError as error:
        pytest.skip(f"the weights of minilm are absent and cannot be fetched: {error}")


@pytest.fixture(scope="session")
def mpnet() -> Path:
    """Directory of the weights of the paper's SBERT-all, where they are; 420 MB, never fetched."""
    from safe_embed.encoders import catalogue, weights

    if chosen := os.environ.get("SAFE_EMBED_MPNET_DIR"):
        return Path(chosen)
    found = weights.find(catalogue.row("sbert-all"))
    if found is None:
        pytest.skip(
            "the weights of sbert-all are absent: `safe-embed encoders fetch sbert-all`, "
            "or set SAFE_EMBED_MPNET_DIR to their directory"
        )
    return found
