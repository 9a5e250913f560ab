from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safe_embed.datasets.tables import Problem, Row, read_parquet, read_table
from safe_embed.errors import DataError

FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

# What UTF-8 can hold; in CSV no NUL, and no text that a reader of lines could not tell apart.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
csv_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def rows(path: Path) -> list[Row]:
    found = list(read_table(path))
    assert all(isinstance(row, Row) for row in found), found
    return found  # type: ignore[return-value]


def problem(path: Path) -> Problem:
    (found,) = [row for row in read_table(path) if isinstance(row, Problem)]
    return found


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
def test_csv_rows_have_the_line_they_start_on(tmp_path: Path, name: str) -> None:
    text = 'id,text\n1,plain\n\n2,"two\nlines, and ""quotes"""\n3,last'
    found = rows(write(tmp_path / name, text))
    assert [row.number for row in found] == [2, 4, 6]
    assert found[1].values == {"id": "2", "text": 'two\nlines, and "quotes"'}


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.ndjson.gz", "A.JSONL"])
def test_jsonl_rows_have_their_line(tmp_path: Path, name: str) -> None:
    found = rows(write(tmp_path / name, '{"a": 1}\n\n  \n{"b": ["x", null]}'))
    assert found == [Row(1, {"a": 1}), Row(4, {"b": ["x", None]})]


def test_byte_order_mark_and_crlf_are_no_part_of_a_table(tmp_path: Path) -> None:
    comma = write(tmp_path / "a.csv", b"\xef\xbb\xbfid,text\r\n1,a\r\n")
    lines = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"id": "1", "text": "a"}\r\n')
    assert rows(comma) == [Row(2, {"id": "1", "text": "a"})]
    assert rows(lines) == [Row(1, {"id": "1", "text": "a"})]


def test_names_of_csv_columns_are_stripped_and_nameless_columns_left_out(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", ", text ,\n0,a,\n")) == [Row(2, {"text": "a"})]


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("a,b\n1\n2,3\n", 2, "has 1 fields, must have 2"),
        ("a,b\n2,3\n1,2,3\n", 3, "has 3 fields, must have 2"),
        ('a,b\n2,3\n1,"open\n4,5\n', 3, "never closed"),
        ('a,b\n1,"x"y\n4,5\n', 2, "write a quote inside a text twice"),
        ("a,b\n1,x\0y\n4,5\n", 2, "NUL byte"),
    ],
)
def test_a_damaged_csv_row_is_a_problem(tmp_path: Path, text: str, row: int, message: str) -> None:
    found = problem(write(tmp_path / "a.csv", text))
    assert found.row == row
    assert message in found.message


def test_reading_goes_on_after_a_damaged_row(tmp_path: Path) -> None:
    found = list(read_table(write(tmp_path / "a.csv", 'a,b\n1,"x"y\n4,5\n')))
    assert found[1:] == [Row(3, {"a": "4", "b": "5"})]


def test_a_field_may_be_long_but_not_endless(tmp_path: Path) -> None:
    assert len(rows(write(tmp_path / "a.csv", "a\n" + "x" * 300_000))) == 1
    assert (
        "look for a quote" in problem(write(tmp_path / "b.csv", f"a\n{'x' * 17_000_000}")).message
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is a list, must be a JSON object"),
        ('"x"', "is text"),
        ("1", "is a number"),
        ("true", "is a boolean"),
        ("null", "is null"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"a": "x\0"}', "NUL byte"),
    ],
)
def test_a_damaged_json_line_is_a_problem(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"a": 0}}\n{line}\n{{"a": 2}}\n')
    assert [row.values for row in read_table(path) if isinstance(row, Row)] == [{"a": 0}, {"a": 2}]
    found = problem(path)
    assert found.row == 2
    assert message in found.message


def test_bytes_that_are_no_utf8_become_lone_surrogates(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", b"a\n\xff\n"))[0].values == {"a": "\udcff"}
    assert rows(write(tmp_path / "a.jsonl", b'{"a": "\xff"}'))[0].values == {"a": "\udcff"}
    assert rows(write(tmp_path / "b.jsonl", r'{"a": "\ud800"}'))[0].values == {"a": "\ud800"}


def test_a_problem_can_be_printed_whatever_the_file_holds() -> None:
    assert str(Problem(3, "a\udcff", "is bad \ud800")).encode()
    assert str(Problem(None, None, "is bad")) == "is bad"
    assert str(Problem(3, "text", "is bad")) == "row 3, text: is bad"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"id,text\n", "holds no rows"),
        ("a.csv", b"\n\n", "holds no rows"),
        ("a.jsonl", b"\n \n", "holds no rows"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), "save the file as UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), "save the file as UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-be"), "save the file as UTF-8"),
        ("a.csv", "a\n".encode("utf-32"), "save the file as UTF-8"),
        ("a.csv", b"id,text,id\n1,a,2\n", "names the column 'id' twice"),
        ("a.txt", b"a", "unknown extension; must be one of .csv, .csv.gz"),
        ("a", b"a", "unknown extension"),
        ("a.parquet.gz", b"a", "unknown extension"),
        ("a.parquet", b"", "not a readable Parquet file"),
        ("a.parquet", b"PAR1 and no more than that PAR1", "not a readable Parquet file"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        list(read_table(write(tmp_path / name, content)))


def test_gzip_that_is_none_or_cut_short(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"a": 1}\n' * 10_000)
    for content in (b'{"a": 1}', whole[: len(whole) // 2], whole[:-12] + b"\0" * 12):
        (tmp_path / "a.jsonl.gz").write_bytes(content)
        with pytest.raises(DataError, match="damaged or not gzip"):
            list(read_table(tmp_path / "a.jsonl.gz"))


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for read in (read_table, read_parquet):
        with pytest.raises(DataError, match="does not exist"):
            read(tmp_path / "absent.parquet")
    with pytest.raises(DataError, match="is a directory"):
        read_table(tmp_path / "folder.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "a\n1\n").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        list(read_table(tmp_path / "a.csv"))


@FOLDER
@given(st.lists(names, min_size=1, max_size=4, unique=True), st.data())
def test_csv_round_trip(tmp_path: Path, header: list[str], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(header, csv_text)), min_size=1))
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        # Quoted all over: a single blank field would be a blank line otherwise.
        writer = csv.DictWriter(file, header, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(values)
    assert [row.values for row in rows(tmp_path / "a.csv")] == values


json_values = st.none() | st.booleans() | st.integers() | any_text | st.lists(any_text, max_size=3)


@FOLDER
@given(st.lists(st.dictionaries(any_text, json_values, max_size=4), min_size=1), st.booleans())
def test_jsonl_round_trip(tmp_path: Path, values: list[dict[str, Any]], escaped: bool) -> None:  # noqa: FBT001
    lines = "\n".join(json.dumps(value, ensure_ascii=escaped) for value in values)
    assert [row.values for row in rows(write(tmp_path / "a.jsonl", lines))] == values
