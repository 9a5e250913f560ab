from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safe_embed.datasets.formats import RecordFile, read_records

PAIR = {"id": "p1", "type": "homonyms", "unsafe": "kill a person", "safe": "kill a process"}
SET = {"id": "c1", "category": "x", "original": "a bad joke", "edits": ["a good joke", "a pun"]}
PROMPT = {"id": "t1", "text": "a bad joke", "label": "unsafe", "category": "x"}


def jsonl(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records), "utf-8")
    return path


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), "utf-8")
    return path


def told(file: RecordFile) -> list[tuple[int | None, str | None, str]]:
    return [(problem.row, problem.field, problem.message) for problem in file.problems]


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> RecordFile:
    return read_records(jsonl(tmp_path / "a.jsonl", *records), **options)


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_an_id_that_is_absent_is_made_from_the_row(tmp_path: Path, value: object) -> None:
    assert read(tmp_path, PROMPT, {"id": value, "text": "x"}).records[1].id == "row 2"


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (12, "12"), (3.0, "3"), ("a", "a")])
def test_ids_become_text(tmp_path: Path, value: object, text: str) -> None:
    assert read(tmp_path, {"id": value, "text": "x"}).records[0].id == text


@pytest.mark.parametrize(
    ("column", "value", "label"),
    [
        ("label", "unsafe", "unsafe"),
        ("label", " Safe ", "safe"),
        ("label", None, None),
        ("label", "", None),
        ("is_safe", True, "safe"),
        ("is_safe", False, "unsafe"),
        ("is_safe", "True", "safe"),
        ("is_safe", "false", "unsafe"),
        ("is_safe", 1, "safe"),
        ("is_safe", 0.0, "unsafe"),
    ],
)
def test_labels(tmp_path: Path, column: str, value: object, label: str | None) -> None:
    file = read(tmp_path, {"text": "x", column: value})
    assert [prompt.label for prompt in file.prompts] == [label]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"text": ""}, "text", "is blank"),
        ({"text": " \n"}, "text", "is blank"),
        (
            {"text": None},
            "text or prompt or question or instruction or turns",
            "is missing; add it",
        ),
        ({"text": 5}, "text", "must be text, is a number"),
        ({"text": True}, "text", "must be text, is a boolean"),
        ({"text": ["a"]}, "text", "must be text, is a list"),
        ({"text": "x" * 100_001}, "text", "has 100,001 characters"),
        ({"text": "a\ud800"}, "text", "is not valid UTF-8 at character 2"),
        ({"id": ["a"]}, "id", "must be text, is a list"),
        ({"id": True}, "id", "must be text, is a boolean"),
        ({"id": "\ud800"}, "id", "is not valid UTF-8"),
        ({"category": {"a": True}}, "category", "must be text, is an object"),
        ({"label": "bad"}, "label", "must be 'unsafe' or 'safe', is 'bad'"),
        ({"label": 1}, "label", "must be 'unsafe' or 'safe', is 1"),
        ({"label": None, "is_safe": "maybe"}, "is_safe", "must be true or false, is 'maybe'"),
    ],
)
def test_a_prompt_that_cannot_be_used(
    tmp_path: Path, change: dict[str, Any], field: str, message: str
) -> None:
    file = read(tmp_path, {"id": "first", "text": "fine"}, PROMPT | change)
    assert [record.id for record in file.records] == ["first"]
    ((row, found, words),) = told(file)
    assert (row, found) == (2, field)
    assert words.startswith(message)


def test_all_that_is_wrong_with_a_row_is_told_in_the_users_words(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        {"type": "", "unsafe_prompt": None, "safe_prompt": "\ud800", "focus": "\udcff", "id": []},
        {"type": "x", "unsafe_prompt": "a", "safe_prompt": "b", "focus": 5},
    )
    assert [(row, field) for row, field, _ in told(file)] == [
        (1, "focus"),
        (1, "id"),
        (1, "type"),
        (1, "unsafe or unsafe_prompt"),
        (1, "safe_prompt"),
        (2, "focus"),
    ]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"edits": []}, "edits", "must be a list of at least one text"),
        ({"edits": {"a": 1}}, "edits", "must be a list of at least one text, is an object"),
        ({"edits": "no list"}, "edits", "must be a JSON list of texts"),
        ({"edits": "5"}, "edits", "must be a list of at least one text, is a number"),
        ({"edits": ["a", " "]}, "edits, item 2", "is blank"),
        ({"edits": ["a", 5]}, "edits, item 2", "must be text, is a number"),
        ({"edits": None}, "edits", "is missing"),
        ({"edits": None, "edit_1": "a", "edit_9": " "}, "edit_9", "is blank"),
        ({"edits": ["pun", " A  BAD joke"]}, "edits", "edit 2 is the same text as the original"),
        ({"edits": ["a", "b", "A "]}, "edits", "edit 3 is the same text as edit 1"),
        ({"category": None}, "category or types_of_harm", "is missing"),
    ],
)
def test_a_contrast_set_that_cannot_be_used(
    tmp_path: Path, change: dict[str, Any], field: str, message: str
) -> None:
    file = read(tmp_path, SET | {"id": "first", "original": "other"}, SET | change)
    assert [record.id for record in file.records] == ["first"]
    ((row, found, words),) = told(file)
    assert (row, found) == (2, field)
    assert words.startswith(message)
