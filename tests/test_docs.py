"""The documentation is true: examples run, flags exist, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from safe_embed.cli.app import main
from safe_embed.encoders import catalogue, weights
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^\$ |`)(safe-embed [^`\n#]*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def page_name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page_name(page)} {number}", block)
        for page in PAGES
        for number, block in enumerate(PYTHON_BLOCK.findall(page.read_text("utf-8")), 1)
    ]


@pytest.mark.parametrize(("name", "block"), python_blocks())
def test_python_examples_run(
    name: str, block: str, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    weights.fetch(catalogue.row("minilm"), source=minilm)
    monkeypatch.setattr(
        sys, "argv", ["safe-embed", "run", "--encoder", "fake", "--output", "runs/mine.json"]
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    exec(compile(block, name, "exec"), {})  # noqa: S102 - our own pages


@pytest.mark.parametrize("module", ["safe_embed", "safe_embed.encoders.fake"])
def test_docstring_examples_run(module: str):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_have_real_verbs_and_flags(page: Path):
    reference = (REPOSITORY / "docs" / "cli.md").read_text("utf-8")
    sections = dict(
        re.findall(r"^## (safe-embed.*?)\n(.*?)(?=^## |\Z)", reference, re.DOTALL | re.MULTILINE)
    )
    for command in COMMAND.findall(page.read_text("utf-8")):
        if page.name == "cli.md" or "|" in command:
            continue
        words = shlex.split(command)
        verb = max(
            (name for name in sections if words[: len(name.split())] == name.split()), key=len
        )
        if verb == "safe-embed" and len(words) > 1 and not words[1].startswith("-"):
            assert "later" in page.read_text("utf-8"), f"{command}: no such verb"
            continue
        for word in words:
            if word.startswith("--"):
                assert re.search(rf"{word}\b", sections[verb]), f"{command}: no {word}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path):
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page_name(page)} links to {target}"


def test_every_page_is_linked_from_the_readme_or_another_page():
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text("utf-8"))
    }
    linked |= {path.resolve() for folder in linked if folder.is_dir() for path in folder.iterdir()}
    unlinked = [page_name(page) for page in PAGES[1:] if page.resolve() not in linked]
    assert not unlinked


def test_ci_runs_the_test_command_of_the_readme():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ (.*pytest)$", readme, re.MULTILINE)
    assert command in (REPOSITORY / ".ci" / "run").read_text("utf-8").splitlines()
