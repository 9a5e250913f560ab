"""The command line, run in this process, and golden files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from safe_embed.cli.app import main
from tests.encoders.tiny_models import write_model

GOLDEN = Path(__file__).parent / "golden"
UPDATE_VARIABLE = "SAFE_EMBED_UPDATE_GOLDEN"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs `safe-embed ARGUMENTS` in an empty directory; gives its exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["safe-embed", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def second_encoder(tmp_path: Path) -> Path:
    """Directory of a tiny BERT with random weights."""
    return write_model(tmp_path / "tiny-bert")


def assert_golden(name: str, text: str) -> None:
    """Compares with a checked file; rewrites it when SAFE_EMBED_UPDATE_GOLDEN is set."""
    path = GOLDEN / name
    if os.environ.get(UPDATE_VARIABLE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8"), f"{path} differs; see `make golden`"


def assert_refused(done: Done, *parts: str) -> None:
    """One line on stderr that holds each part, exit code 2, and nothing on stdout."""
    lines = done.err.strip().splitlines()
    assert done.code == 2, done
    assert done.out == ""
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in lines[0]
