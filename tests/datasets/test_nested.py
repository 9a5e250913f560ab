"""JSON files that are one value: categories, wrappers, and what is no row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.datasets import read_table
from safe_embed.datasets.nested import nested_rows
from safe_embed.datasets.tables import Row
from safe_embed.errors import DataError

NAMES = st.text("abc", min_size=1, max_size=3)
TREES = st.recursive(
    st.lists(st.text(max_size=3), max_size=4),
    lambda below: st.dictionaries(NAMES, below, max_size=3),
)


def paths_and_texts(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [one for key in value for one in paths_and_texts(value[key], (*path, key))]
    assert isinstance(value, list)
    return [(" / ".join(path), text) for text in value]


@given(TREES)
def test_each_text_once_with_its_path(tree: object):
    found = [(str(row.get("category", "")), str(row["text"])) for row in nested_rows(tree)]
    assert found == paths_and_texts(tree)


def test_lists_of_objects_and_wrappers():
    assert list(nested_rows([{"a": 1}, "b"])) == [{"a": 1}, {"text": "b"}]
    wrapped = {"instructions": ["a", "b"], "tags": ["x", "y"]}
    assert list(nested_rows(wrapped)) == [{"text": "a"}, {"text": "b"}]
    rows = list(nested_rows({"Hate ": [{"text": "a"}, {"text": "b", "category": "own"}]}))
    assert rows == [{"category": "Hate", "text": "a"}, {"category": "own", "text": "b"}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "at the top there must be a list"),
        ({"a": {"b": "c"}}, "under 'a / b' there must be a list"),
        ({"a": ["b", 5]}, "item 2 under 'a' is neither"),
        ([None], "item 1 is neither"),
        ({"text": ["a"], "label": ["safe"]}, "'label' where a category must stand"),
    ],
)
def test_what_is_no_row(value: object, message: str):
    with pytest.raises(ValueError, match=message):
        list(nested_rows(value))


def test_a_file(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps({"a": ["b", "c"]}))
    assert list(read_table(path)) == [
        Row(1, {"text": "b", "category": "a"}),
        Row(2, {"text": "c", "category": "a"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "Extra data.*is called .jsonl"),
        (b'{"a": ["b"], "a": ["c"]}', "the key 'a' stands twice"),
        (b'["a\0b"]', "NUL"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "empty|not JSON"),
        (b"[]", "no row|holds no|empty"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_table(path))


def test_a_damaged_byte_is_found_where_the_text_is_used(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b'["a\xff"]')
    (row,) = read_table(path)
    assert isinstance(row, Row)
    assert row.values["text"] == "a\udcff"
