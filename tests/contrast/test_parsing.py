"""Raw answers become contrast sets or rejections, row by row; differences have a reason."""

from __future__ import annotations

import doctest
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from safe_embed.contrast.difference import Comparison, why_different
from safe_embed.contrast.outcome import rejected_path
from safe_embed.contrast.parsing import (
    ParsedSet,
    ParseSummary,
    RejectedAnswer,
    parse_raw,
    write_parsed,
)
from safe_embed.datasets import load, load_records
from safe_embed.errors import DataError, InputError

EDITS = ["Tell me a funny joke.", "Tell me a clean joke."]
GOOD = {
    "id": 0,
    "category": "Adult Content",
    "question": "Tell me a dirty joke.",
    "contrasts": json.dumps(EDITS),
}


def write(path: Path, *rows: dict[str, object] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw.jsonl"


def only(path: Path, *, strict: bool = False) -> ParsedSet | RejectedAnswer:
    return list(parse_raw(path, 2, strict=strict))[-1]


class TestRows:
    @pytest.mark.parametrize("original", ["question", "prompt", "original", "original_prompt"])
    @pytest.mark.parametrize("answer", ["contrasts", "answer", "raw"])
    def test_names_of_columns(self, raw: Path, original: str, answer: str) -> None:
        write(
            raw,
            {
                "id": "a",
                "category": "Harassment",
                original: "Tell me a dirty joke.",
                answer: json.dumps(EDITS),
            },
        )
        item = only(raw)
        assert isinstance(item, ParsedSet)
        assert item.record.model_dump() == {
            "id": "a",
            "category": "Harassment",
            "original": "Tell me a dirty joke.",
            "edits": tuple(EDITS),
        }
        assert item.defect is None

    def test_an_answer_may_be_stored_as_json_and_not_as_its_text(self, raw: Path) -> None:
        write(raw, {**GOOD, "contrasts": {"id": 0, "edits": EDITS}})
        assert isinstance(only(raw), ParsedSet)

    def test_an_id_is_made_where_there_is_none(self, raw: Path) -> None:
        write(raw, "", {name: value for name, value in GOOD.items() if name != "id"})
        item = only(raw)
        assert isinstance(item, ParsedSet)
        assert (item.row, item.record.id) == (2, "row 2")

    def test_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.csv"
        path.write_text('category,prompt,answer\nHarassment,Why?,"[""How?"", ""When?""]"\n')
        item = only(path)
        assert isinstance(item, ParsedSet)
        assert item.record.edits == ("How?", "When?")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"contrasts": "I'm sorry, I can't help with that."}, "refusal"),
            ({"contrasts": None}, "empty"),
            ({"contrasts": '["one"]'}, "wrong count"),
            ({"contrasts": '{"id": "9", "edits": ["one", "two"]}'}, "other prompt"),
            ({"contrasts": '["cut'}, "not JSON"),
            ({"category": None}, "bad row"),
            ({"question": " "}, "bad row"),
            ({"question": 7}, "bad row"),
            ({"question": "lone \ud83d"}, "bad row"),
        ],
    )
    def test_rejections(self, raw: Path, change: dict[str, object], reason: str) -> None:
        write(raw, GOOD, {**GOOD, "id": 1, **change})
        first, item = parse_raw(raw, 2)
        assert isinstance(first, ParsedSet)
        assert isinstance(item, RejectedAnswer)
        assert (item.row, item.id, item.reason) == (2, "1", reason)
        assert item.detail
        assert item.raw == {**GOOD, **change}["contrasts"]

    def test_a_line_that_is_no_json_and_an_id_that_stands_twice(self, raw: Path) -> None:
        write(raw, GOOD, "{not json", GOOD, {**GOOD, "id": "new", "question": "Why?"})
        items = list(parse_raw(raw, 2))
        assert [isinstance(item, ParsedSet) for item in items] == [True, False, False, True]
        assert "row 1 too" in str(items[2])

    def test_an_id_made_floating_point_is_that_of_the_answer(self, raw: Path) -> None:
        write(raw, {**GOOD, "id": 3.0, "contrasts": json.dumps({"id": "3", "edits": EDITS})})
        item = only(raw)
        assert isinstance(item, ParsedSet)
        assert item.record.id == "3"


class TestStrict:
    @pytest.mark.parametrize(
        ("change", "defect"),
        [
            ({"contrasts": '["why", "two"]'}, "unchanged"),
            ({"contrasts": '["one", "One!"]'}, "duplicate edit"),
            ({"question": "tell me a DIRTY joke. "}, "duplicate text"),
        ],
    )
    def test_what_run_would_refuse(self, raw: Path, change: dict[str, object], defect: str) -> None:
        other = {"question": "Why?", "contrasts": '["How?", "When?"]'}
        write(raw, GOOD, {**GOOD, **other, "id": 1, **change})
        item = only(raw)
        assert isinstance(item, ParsedSet)
        assert item.defect is not None
        assert item.defect[0] == defect
        rejected = only(raw, strict=True)
        assert isinstance(rejected, RejectedAnswer)
        assert rejected.reason == defect

    def test_what_is_left_is_loaded(self, raw: Path, tmp_path: Path) -> None:
        bad = [{**GOOD, "id": 1}, {**GOOD, "id": 2, "question": "Tell me a clean joke."}]
        write(raw, GOOD, *bad)
        out = tmp_path / "sets.jsonl"
        *_, (_, summary) = write_parsed(parse_raw(raw, 2, strict=True), out)
        assert (summary.n, summary.sets) == (3, 1)
        assert summary.rejected == {"duplicate text": 1, "unchanged": 1}
        assert len(load_records(out, "contrast sets").contrast_sets) == 1


class TestFiles:
    def test_both_are_written_and_load(self, raw: Path, tmp_path: Path) -> None:
        write(raw, GOOD, {**GOOD, "id": 1, "contrasts": "I can't \ud83d."})
        out = tmp_path / "new" / "sets.jsonl"
        *_, (_, summary) = write_parsed(parse_raw(raw, 2), out)
        assert summary == ParseSummary(n=2, sets=1, rejected=summary.rejected)
        (record,) = load_records(out, "contrast sets").contrast_sets
        assert record.edits == tuple(EDITS)
        (line,) = rejected_path(out).read_text("utf-8").splitlines()
        assert json.loads(line)["reason"] == "refusal"
        assert json.loads(line)["raw"] == "I can't \ud83d."

    def test_an_error_on_the_way_leaves_the_old_file(self, raw: Path, tmp_path: Path) -> None:
        out = write(tmp_path / "sets.jsonl", "old")
        write(raw, GOOD)

        def breaks() -> Iterator[ParsedSet | RejectedAnswer]:
            yield from parse_raw(raw, 2)
            raise DataError(raw, "is damaged")

        with pytest.raises(DataError):
            list(write_parsed(breaks(), out))
        assert out.read_text() == "old\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["raw.jsonl", "sets.jsonl"]

    def test_rows_are_written_as_they_come(self, raw: Path, tmp_path: Path) -> None:
        write(raw, *({**GOOD, "id": i} for i in range(5)))
        taken = []

        def watched() -> Iterator[ParsedSet | RejectedAnswer]:
            for item in parse_raw(raw, 2):
                taken.append(item.row)
                yield item

        rows = write_parsed(watched(), tmp_path / "sets.jsonl")
        next(rows)
        assert taken == [1]
        rows.close()  # type: ignore[attr-defined]
        assert not (tmp_path / "sets.jsonl").exists()

    def test_errors_name_the_file_and_row(self, raw: Path, tmp_path: Path) -> None:
        write(raw, "", {"id": 1, "category": "Harassment", "question": "Why?"})
        with pytest.raises(DataError, match=r"raw.jsonl, row 2: has no answer or contrasts or raw"):
            list(parse_raw(raw, 2))
        with pytest.raises(DataError, match="does not exist"):
            list(parse_raw(tmp_path / "none.jsonl", 2))
        with pytest.raises(InputError, match="at least 1, got 0"):
            parse_raw(raw, 0)
        with pytest.raises(InputError, match=r"must end in \.jsonl"):
            write_parsed([], tmp_path / "sets.csv")


class TestDifferences:
    @pytest.mark.parametrize(
        ("here", "there", "reason"),
        [
            ("How are you? ", "How are you?", "white space"),
            ("How are you?", "how are you?", "case"),
            ('Say "hello".', 'Say \\"hello\\".', "JSON escapes not decoded"),
            ("It's safe.", "It&#39;s safe.", "HTML escapes not decoded"),
            ("What is caf\u00e9?", "What is caf\u00c3\u00a9?", "wrong encoding"),
            (
                "What is \u201cthis\u201d?",
                "What is \u00e2\u20ac\u0153this\u00e2\u20ac\u009d?",
                "another",
            ),
            ("What, now?", "What now", "case, punctuation or white space"),
            ("Tell me a joke, please", "Tell me a", "cut off"),
            ("Tell me a joke", "Tell me a story", "another text (0.25"),
            ("Tell me", "", "another text (1.00"),
        ],
    )
    def test_reasons(self, here: str, there: str, reason: str) -> None:
        assert why_different(here, there).startswith(reason)

    def test_docstring_examples_run(self) -> None:
        result = doctest.testmod(importlib.import_module("safe_embed.contrast.difference"))
        assert (result.attempted, result.failed) == (2, 0)

    def test_each_kind_is_listed(self, raw: Path, tmp_path: Path) -> None:
        answers = [{**GOOD, "id": i} for i in range(6)]
        answers[3]["contrasts"] = "I can't."
        write(raw, *answers)
        other = {"category": "Adult Content", "original": GOOD["question"], "edits": EDITS}
        path = write(
            tmp_path / "other.jsonl",
            {**other, "id": 0},
            {**other, "id": 1, "edits": [EDITS[0], EDITS[1].rstrip(".")], "category": "Harassment"},
            {**other, "id": 2, "edits": EDITS[::-1]},
            {**other, "id": 3},
            {**other, "id": 4, "edits": EDITS[:1]},
            {**other, "id": 9},
            {**other, "id": 5, "edits": ["", EDITS[0]]},
        )
        comparison = Comparison.with_file(path)
        for item in parse_raw(raw, 2):
            comparison.add(item)
        comparison.finish()
        assert (comparison.n, comparison.equal) == (4, 1)
        unusable, *differences = comparison.differences
        assert unusable.id == "row 7"
        assert unusable.reason.startswith(
            "unusable in the other file: row 7, edits, item 1: is blank"
        )
        assert [(one.id, one.field, one.reason) for one in differences] == [
            ("1", "category", "another text (1.00 of the words changed)"),
            ("1", "edit 2", "case, punctuation or white space"),
            ("2", "edits", "another order"),
            ("3", "set", "rejected here, row 4: refusal (I can't.)"),
            ("4", "edits", "2 edits in the answer, 1 in the other file"),
            ("5", "set", "only in the answers"),
            ("9", "set", "only in the other file"),
        ]


@pytest.mark.paper
class TestPaper:
    def test_all_939_sets_are_those_that_were_published(self, paper_data: Path) -> None:
        """Five published edits end in a space, as in the answers; it stays, so none differs."""
        items = list(parse_raw(paper_data / "contrast_origin.jsonl"))
        published = load("contrast-sets", paper_data).contrast_sets
        assert [item.record for item in items if isinstance(item, ParsedSet)] == list(published)
        assert len(items) == 939
        assert sum(edit != edit.strip() for one in published for edit in one.edits) == 5
        defects = [(item.row, item.defect[0]) for item in items if item.defect]  # type: ignore[union-attr]
        assert defects == [(435, "duplicate text")]

    def test_a_damaged_copy_differs_where_it_was_damaged(
        self, paper_data: Path, tmp_path: Path
    ) -> None:
        lines = (paper_data / "contrast_parsed.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        rows[174]["prompt_#5"] = rows[174]["prompt_#5"].strip()
        rows[7]["prompt_#1"] = rows[7]["prompt_#1"][:-9]
        del rows[900]
        comparison = Comparison.with_file(write(tmp_path / "other.jsonl", *rows))
        for item in parse_raw(paper_data / "contrast_origin.jsonl"):
            comparison.add(item)
        comparison.finish()
        assert (comparison.n, comparison.equal) == (938, 936)
        assert [(one.id, one.field, one.reason) for one in comparison.differences] == [
            ("7", "edit 1", "cut off"),
            ("174", "edit 5", "white space"),
            ("900", "set", "only in the answers"),
        ]
