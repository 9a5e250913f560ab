"""Labelled files by other names: columns, labels, ids, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.datasets import write_parquet
from safe_embed.datasets.labelled import ColumnMap, load_labelled
from safe_embed.errors import DataError, InputError, UnknownNameError
from safe_embed.records import ContrastSet, Prompt, PromptPair


def jsonl(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_prompts_as_they_are(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "a b", "label": "Unsafe", "source": "log"})
    (row,) = load_labelled(path)
    assert row.record == Prompt(id="row 1", text="a b", label="unsafe")
    assert row.values["source"] == "log"
    assert not row.has_id
    path = jsonl(path, {"id": 5, "text": "a b", "is_safe": True})
    (row,) = load_labelled(path)
    assert (row.record.id, row.has_id) == ("5", True)
    assert isinstance(row.record, Prompt)
    assert row.record.label == "safe"


@pytest.mark.parametrize(
    ("unsafe", "safe", "values"),
    [
        (("1",), ("0",), (1, 0)),
        (("1",), ("0",), (1.0, 0.0)),
        (("true",), ("false",), (True, False)),
        (("Harmful", "toxic"), ("ok",), ("TOXIC ", "ok")),
    ],
)
def test_values_that_mean_a_label(
    tmp_path: Path, unsafe: tuple[str, ...], safe: tuple[str, ...], values: tuple[object, ...]
):
    mapping = ColumnMap(columns={"label": "harm", "text": "q"}, unsafe=unsafe, safe=safe)
    rows = [{"q": f"text {n}", "harm": value} for n, value in enumerate(values)]
    found = load_labelled(jsonl(tmp_path / "a.jsonl", *rows), mapping=mapping)
    labels = [one.record.label for one in found if isinstance(one.record, Prompt)]
    assert labels == ["unsafe", "safe"]
    path = tmp_path / "a.parquet"
    write_parquet(path, {"q": ["a", "b"], "harm": values})
    assert len(load_labelled(path, mapping=mapping)) == 2


def test_a_mapped_column_goes_before_one_of_our_name(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "old", "clean": "new", "label": "safe"})
    (row,) = load_labelled(path, mapping=ColumnMap(columns={"text": "clean"}))
    assert isinstance(row.record, Prompt)
    assert row.record.text == "new"
    jsonl(path, {"text": "old", "clean": "new", "label": "safe"}, {"text": "b", "label": "safe"})
    with pytest.raises(DataError, match=r"row 2.*missing"):
        load_labelled(path, mapping=ColumnMap(columns={"text": "clean"}))


def test_pairs_and_contrast_sets(tmp_path: Path):
    pair = {"kind": "homonyms", "bad": "kill him", "good": "kill it"}
    mapping = ColumnMap(columns={"type": "kind", "unsafe": "bad", "safe": "good"})
    (row,) = load_labelled(jsonl(tmp_path / "a.jsonl", pair), mapping=mapping)
    assert isinstance(row.record, PromptPair)
    sets = {"category": "hate", "original": "a b", "edit_1": "c d"}
    (row,) = load_labelled(jsonl(tmp_path / "b.jsonl", sets))
    assert isinstance(row.record, ContrastSet)


def test_a_text_may_be_there_twice_an_id_not(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", *[{"text": "a", "label": "safe"}] * 2)
    assert len(load_labelled(path)) == 2
    jsonl(path, *[{"id": "x", "text": "a", "label": "safe"}] * 2)
    with pytest.raises(DataError, match="row 2: the id 'x' is that of row 1"):
        load_labelled(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "b"}, "row 2: has no label"),
        ({"text": "b", "label": None}, "row 2: has no label"),
        ({"text": "b", "label": "bad"}, "row 2: label: must be"),
        ({"text": "\ud800", "label": "safe"}, "row 2: text: .*surrogate"),
        ({"label": "safe"}, "row 2: text"),
    ],
)
def test_a_row_that_cannot_be_used(tmp_path: Path, row: dict[str, object], message: str):
    path = jsonl(tmp_path / "a.jsonl", {"text": "a", "label": "safe"}, row)
    with pytest.raises(DataError, match=message):
        load_labelled(path)


def test_values_and_names_that_cannot_be(tmp_path: Path):
    with pytest.raises(InputError, match="not only one"):
        ColumnMap(unsafe=("1",))
    with pytest.raises(InputError, match="'yes' cannot mean"):
        ColumnMap(unsafe=("YES",), safe=("yes",))
    with pytest.raises(UnknownNameError, match="did you mean text"):
        ColumnMap(columns={"texts": "a"})
    path = jsonl(tmp_path / "a.jsonl", {"text": "a", "label": "safe"})
    with pytest.raises(DataError, match="no column 'q' for 'text'"):
        load_labelled(path, mapping=ColumnMap(columns={"text": "q"}))
    with pytest.raises(DataError, match="must be one of 1, 0"):
        load_labelled(path, mapping=ColumnMap(unsafe=("1",), safe=("0",)))
    with pytest.raises(UnknownNameError):
        load_labelled(path, "poems")  # type: ignore[arg-type]


def test_one_label_for_a_whole_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("kill a process\n\nbake a cake\n")
    rows = load_labelled(path, label="safe")
    assert [(one.number, one.record.text) for one in rows if isinstance(one.record, Prompt)] == [
        (1, "kill a process"),
        (3, "bake a cake"),
    ]
    assert {one.record.label for one in rows if isinstance(one.record, Prompt)} == {"safe"}
    path = jsonl(tmp_path / "b.jsonl", {"instruction": "a", "category": "hate"})
    for label, category in (("unsafe", "hate"), ("safe", None)):
        (row,) = load_labelled(path, label=label)  # type: ignore[arg-type]
        assert row.record == Prompt(id="row 1", text="a", label=label, category=category)


def test_a_row_of_another_label_than_the_file_was_named_by(tmp_path: Path):
    path = jsonl(
        tmp_path / "a.jsonl", {"text": "a", "label": "unsafe"}, {"text": "b", "is_safe": True}
    )
    with pytest.raises(DataError, match=r"row 2: is labelled safe, but .* unsafe:"):
        load_labelled(path, label="unsafe")
    pairs = jsonl(tmp_path / "b.jsonl", {"type": "t", "unsafe": "a", "safe": "b"})
    with pytest.raises(DataError, match="leave `unsafe:` out"):
        load_labelled(pairs, label="unsafe")
    plain = jsonl(tmp_path / "c.jsonl", {"text": "a"})
    with pytest.raises(DataError, match="`unsafe:` or `safe:` before"):
        load_labelled(plain)


def test_the_first_turn_of_a_conversation(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", {"turns": ["a", "b"], "label": "safe"})
    assert load_labelled(path)[0].record.text == "a"  # type: ignore[union-attr]
    path = jsonl(tmp_path / "b.jsonl", {"chat": ["a", "b"], "label": "safe"})
    mapping = ColumnMap(columns={"text": "chat"})
    assert load_labelled(path, mapping=mapping)[0].record.text == "a"  # type: ignore[union-attr]
    for turns in ([], [1], "a"):
        jsonl(path, {"turns": turns, "label": "safe"})
        if turns == "a":
            assert load_labelled(path)[0].record.text == "a"  # type: ignore[union-attr]
        else:
            with pytest.raises(DataError, match="row 1: turns: must be text, is a list"):
                load_labelled(path)
