"""Texts one by one: from tables and lines, in constant memory, with the row of what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.datasets.texts import TextRow, iterate_lines, iterate_texts
from safe_embed.errors import DataError


def lines(content: bytes) -> list[TextRow]:
    return list(iterate_lines(io.BytesIO(content), "a"))


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", codec="utf-8"), max_size=9)))
def test_lines_come_back_as_they_were(texts: list[str]):
    kept = [(n, text) for n, text in enumerate(texts, 1) if text.strip()]
    content = "\n".join(texts).encode()
    if kept:
        assert [(row.number, row.text) for row in lines(content)] == kept
    else:
        with pytest.raises(DataError, match="holds no prompt"):
            lines(content)


def test_marks_line_ends_and_bad_bytes():
    assert [row.text for row in lines(b"\xef\xbb\xbfa b\r\nc\n")] == ["a b", "c"]
    assert lines(b"a\xffb")[0].text == "a\udcffb"
    with pytest.raises(DataError, match="UTF-16"):
        lines("a b".encode("utf-16"))


def test_a_line_without_end_is_not_read_to_its_end():
    class Endless(io.RawIOBase):
        asked = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            self.asked += len(buffer)
            assert self.asked < 10_000_000
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    with pytest.raises(DataError, match="row 1: has over 100,000 characters"):
        list(iterate_lines(io.BufferedReader(Endless()), "a"))


def test_tables_are_read_as_they_are_asked_for(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"id": 1, "question": "a"}), "no json", json.dumps({"text": "b"})]
    path.write_text("\n".join(rows))
    texts: Iterator[TextRow] = iterate_texts(path)
    assert next(texts) == TextRow(1, "a", 1)
    with pytest.raises(DataError, match="row 2: is not JSON"):
        next(texts)


def test_columns_by_name(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("n,ask,text\n7,a,b\n")
    assert list(iterate_texts(path)) == [TextRow(2, "b", None)]
    assert list(iterate_texts(path, {"text": "ask", "id": "n"})) == [TextRow(2, "a", "7")]
    with pytest.raises(DataError, match="row 2: has no text in a column q "):
        list(iterate_texts(path, {"text": "q"}))
    with pytest.raises(DataError, match=r"\(its columns: 'n', 'ask', 'text'\); name the column"):
        list(iterate_texts(path, {"text": "q"}))


def test_text_that_is_none(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}')
    with pytest.raises(DataError, match="row 1: has no text"):
        list(iterate_texts(path))
    path.write_text('{"text": ["a"]}')
    with pytest.raises(DataError, match="row 1: text: must be text, is a list"):
        list(iterate_texts(path))


@pytest.mark.parametrize("name", ["a.xml", "a.tsv", "a.xlsx", "a.txt.gz"])
def test_files_of_other_kinds(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text("a\n")
    with pytest.raises(DataError, match="unknown extension"):
        iterate_texts(path)


def test_files_that_are_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        list(iterate_texts(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="is a directory"):
        list(iterate_texts(tmp_path))
