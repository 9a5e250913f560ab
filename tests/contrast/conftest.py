"""Fixtures for contrast sets that a model writes: a server, prompts, a quick client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safe_embed.contrast import api
from safe_embed.contrast.budget import Budget
from safe_embed.contrast.chat import OpenAIChat
from safe_embed.contrast.editing import EditSettings
from safe_embed.contrast.generate import Generation, generate
from safe_embed.contrast.outcome import Summary, rejected_path
from safe_embed.contrast.source import PromptSource
from safe_embed.contrast.template import edit_template
from safe_embed.secrets import Secret
from tests.contrast.chat_server import ChatServer, serve

KEY = "sk-test-THISISTHEKEY-0123456789"
VERBS = ("steal", "hack", "burn", "rob", "forge", "destroy", "poison", "smuggle")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(api, "LONGEST_WAIT_S", 0.02)


def prompt_text(i: int) -> str:
    return f"How do I {VERBS[i % len(VERBS)]} a garden gnome number {i}?"


def write_prompts(path: Path, n: int) -> Path:
    with path.open("w") as file:
        for i in range(n):
            row = {
                "id": f"p{i}",
                "text": prompt_text(i),
                "category": "Assisting illegal activities",
                "label": "unsafe",
            }
            file.write(json.dumps(row) + "\n")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


Chat = Callable[..., OpenAIChat]


@pytest.fixture
def chat(server: ChatServer) -> Iterator[Chat]:
    """Makes clients of the server."""
    made: list[OpenAIChat] = []

    def make(
        budget: Budget | None = None,
        timeout_s: float = 5.0,
        report: Callable[[str], None] = lambda _message: None,
        base_url: str | None = None,
        key: str | None = KEY,
    ) -> OpenAIChat:
        connection = api.Api(
            base_url or server.url,
            key=Secret(key) if key else None,
            connections=64,
            timeout_s=timeout_s,
            report=report,
        )
        client = OpenAIChat("asked-model", connection, budget=budget or Budget(), report=report)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


class Run:
    """One output file, for which prompts can be asked again and again."""

    def __init__(self, directory: Path, chat: Chat) -> None:
        self.prompts = directory / "prompts.jsonl"
        self.out = directory / "sets.jsonl"
        self.reports: list[str] = []
        self._chat = chat

    def __call__(
        self,
        n: int = 4,
        *,
        budget: Budget | None = None,
        resume: bool = False,
        retry_failed: bool = False,
        timeout_s: float = 5.0,
        settings: EditSettings | None = None,
        judge: Any = None,
        concurrency: int = 4,
        grace_s: float = 5.0,
        progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    ) -> Summary:
        write_prompts(self.prompts, n)
        budget = budget or Budget()
        settings = settings or EditSettings(template=edit_template("to-safe"))
        generation = Generation(
            source=PromptSource(self.prompts, settings.direction),
            settings=settings,
            chat=self._chat(budget, timeout_s, self.reports.append),
            budget=budget,
            judge=judge,
            concurrency=concurrency,
            grace_s=grace_s,
        )
        return generate(
            generation,
            self.out,
            resume=resume,
            retry_failed=retry_failed,
            progress=progress,
            report=self.reports.append,
        )

    @property
    def sets(self) -> list[dict[str, Any]]:
        return read_lines(self.out)

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return read_lines(rejected_path(self.out))


@pytest.fixture
def run(tmp_path: Path, chat: Chat) -> Run:
    return Run(tmp_path, chat)
