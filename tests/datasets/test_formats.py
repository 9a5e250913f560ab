from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from safe_embed.datasets.columns import Kind, Record
from safe_embed.datasets.formats import RecordFile, load_records, read_records
from safe_embed.datasets.tables import write_parquet
from safe_embed.errors import DataError, UnknownNameError
from safe_embed.records import ContrastSet, Prompt, PromptPair

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


@pytest.mark.parametrize(
    ("record", "kind", "type_"),
    [(PAIR, "pairs", PromptPair), (SET, "contrast sets", ContrastSet), (PROMPT, "prompts", Prompt)],
)
def test_finds_the_kind_and_makes_its_records(
    tmp_path: Path, record: dict[str, Any], kind: Kind, type_: type[Record]
) -> None:
    for asked in (None, kind):
        file = read(tmp_path, record, kind=asked)
        assert file.kind == kind
        assert file.records == (type_.model_validate(record),)
        assert not file.problems


def test_each_kind_is_had_by_its_own_property(tmp_path: Path) -> None:
    pairs, sets, prompts = (read(tmp_path, record) for record in (PAIR, SET, PROMPT))
    assert pairs.pairs == pairs.records
    assert sets.contrast_sets == sets.records
    assert prompts.prompts == prompts.records
    with pytest.raises(DataError, match="holds pairs, must hold prompts"):
        pairs.prompts  # noqa: B018


def test_the_digest_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PROMPT).encode()))
    file = read_records(path)
    assert file.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.path == path


def test_reads_the_columns_of_the_papers_files(tmp_path: Path) -> None:
    xstest = table(
        tmp_path / "xstest.csv",
        "id,type_id,type,unsafe_prompt,safe_prompt,focus",
        "7,1,homonyms,kill a person,kill a process,kill",
        "8,1,homonyms,shoot him,shoot a film,",
    )
    assert read_records(xstest).records == (
        PromptPair(
            id="7", type="homonyms", unsafe="kill a person", safe="kill a process", focus="kill"
        ),
        PromptPair(id="8", type="homonyms", unsafe="shoot him", safe="shoot a film"),
    )
    answers = table(tmp_path / "dna.csv", "id,types_of_harm,question,GPT4_response", "0,x,why?,no")
    assert read_records(answers).records == (Prompt(id="0", text="why?", category="x"),)
    contrast = {"id": 3, "category": "x", "original_prompt": "o"}
    contrast |= {f"prompt_#{i}": f"edit {i}" for i in (10, 2, 1)}
    assert read(tmp_path, contrast).records == (
        ContrastSet(id="3", category="x", original="o", edits=("edit 1", "edit 2", "edit 10")),
    )


def test_edits_come_as_a_list_or_in_columns(tmp_path: Path) -> None:
    expected = ContrastSet(id="row 2", category="x", original="o", edits=("a", "b"))
    for name, *lines in (
        ("numbered", "category,original,edit_2,edit_1,edit_3", "x,o,b,a,"),
        ("list", "category,original,edits", 'x,o,"[""a"", ""b""]"'),
    ):
        assert read_records(table(tmp_path / f"{name}.csv", *lines)).records == (expected,)
    write_parquet(
        tmp_path / "a.parquet",
        {"id": ["row 2"], "category": ["x"], "original": ["o"], "edits": [["a", "b"]]},
    )
    assert read_records(tmp_path / "a.parquet").records == (expected,)


def test_the_sides_of_a_pair_differ(tmp_path: Path) -> None:
    file = read(tmp_path, PAIR | {"safe": "Kill  a PERSON"})
    assert told(file) == [(1, "safe", "is the same text as the unsafe side; change one")]


def test_ids_and_texts_do_not_repeat(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        PROMPT,
        PROMPT | {"text": "other"},
        PROMPT | {"id": "t2", "text": " A BAD\njoke"},
        PROMPT | {"id": "t3", "text": "third"},
    )
    assert told(file) == [
        (2, "id", "is that of row 1 too; make it unique"),
        (3, "text", "has the same text as row 1; remove one of them"),
    ]
    assert [record.id for record in file.records] == ["t1", "t3"]


def test_the_text_of_one_side_is_not_that_of_another_pair(tmp_path: Path) -> None:
    file = read(tmp_path, PAIR, PAIR | {"id": "p2", "unsafe": PAIR["safe"], "safe": "new"})
    assert told(file) == [(2, "unsafe", "has the same text as row 1; remove one of them")]


def test_defects_that_are_allowed_are_warnings(tmp_path: Path) -> None:
    twice = [PROMPT, PROMPT | {"id": "t2"}]
    file = read(tmp_path, *twice, allow=("duplicate text",))
    assert len(file.records) == 2
    assert not file.problems
    assert [warning.row for warning in file.warnings] == [2]
    same = SET | {"edits": ["a", "a"]}
    assert read(tmp_path, same, allow=("duplicate text",)).problems
    assert read(tmp_path, same, allow=("equal edits",)).records


def test_columns_can_be_left_out(tmp_path: Path) -> None:
    record = {"prompt": "x", "category": {"a": True}, "id": 4}
    file = read(tmp_path, record, ignore=("category", "id"))
    assert file.records == (Prompt(id="row 1", text="x"),)


def test_problems_of_the_table_and_of_the_records_come_in_order(tmp_path: Path) -> None:
    path = table(tmp_path / "a.jsonl", "oops", '{"text": "a"}', '{"text": ""}', "[]")
    assert [problem.row for problem in read_records(path).problems] == [1, 3, 4]


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (["a;b", "1;2"], None, "has the columns 'a;b', which make no records; name them as"),
        (["unsafe,safe", "a,b"], None, "has no column type; add it"),
        (["text", "a"], "pairs", r"has no column type; add it \(its columns: 'text'\)"),
        (["category,original", "a,b"], None, "has no column edits or edit_1, edit_2, ...; add it"),
        (["t\x00,b", "1,2"], None, "row 1: holds a NUL byte"),
        (["a,b", "1", "2"], None, r"row 2: no row at the start can be read; has 1 fields"),
    ],
)
def test_a_table_without_the_columns(
    tmp_path: Path, lines: list[str], kind: Kind | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_records(table(tmp_path / "a.csv", *lines), kind)


def test_lines_of_jsonl_may_have_different_columns(tmp_path: Path) -> None:
    file = read(tmp_path, {"text": "a"}, {"prompt": "b", "label": "safe"}, {"question": "c"})
    assert [prompt.text for prompt in file.prompts] == ["a", "b", "c"]


def test_a_kind_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean pairs"):
        read(tmp_path, PAIR, kind="pair")


def test_the_strict_loader_raises_the_first_problem(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", PROMPT, {"text": ""}, {"text": 5}, {"text": "\ud800"})
    with pytest.raises(DataError) as caught:
        load_records(path)
    assert caught.value.row == 2
    assert str(caught.value) == (
        f"{path}, row 2: text: is blank; remove the row or write its text "
        f"(2 more problems: `safe-embed data check {path}` lists them)"
    )
    one = jsonl(tmp_path / "b.jsonl", PROMPT, {"text": ""})
    with pytest.raises(DataError, match=r"write its text$"):
        load_records(one, "prompts")
    assert load_records(jsonl(tmp_path / "c.jsonl", PROMPT)).prompts == (Prompt(**PROMPT),)


def test_a_table_that_is_damaged_all_over_is_still_read_to_its_end(tmp_path: Path) -> None:
    path = table(tmp_path / "a.jsonl", '{"text": "a"}', *["{"] * 1000)
    assert len(read_records(path).problems) == 1000


@pytest.mark.timeout(60)
def test_two_hundred_thousand_rows_take_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = (f"{i},prompt number {i},unsafe,c{i % 12}" for i in range(200_000))
    table(path, "id,text,label,category", *lines)
    assert len(read_records(path).records) == 200_000
