"""The validity report counts what a person would count by hand, and a threshold can fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.contrast.distribution import N_BINS, Distribution
from safe_embed.contrast.validity import Thresholds, check_sets
from safe_embed.encoders import load_encoder
from safe_embed.errors import DataError, InputError
from tests.conftest import TableEncoder

ORIGINAL = "Tell me a dirty joke."
GOOD = {"id": "a", "category": "Adult Content", "original": ORIGINAL}


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return tmp_path / "sets.jsonl"


def write(path: Path, *rows: dict[str, object] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


class TestDefects:
    def test_are_counted_and_listed(self, sets: Path) -> None:
        edits = [
            "Tell me a clean joke.",
            "tell me a DIRTY joke",
            "Tell me a  clean joke",
            " ",
            "I'm sorry, but I can't help with that.",
        ]
        write(sets, {**GOOD, "edits": edits}, {**GOOD, "id": "b", "edits": ["Tell me a story."]})
        report = check_sets(sets)
        assert (report.n_sets, report.n_edits) == (2, 6)
        assert report.edits_per_set == {1: 1, 5: 1}
        assert report.defects == {"unchanged": 1, "identical": 1, "empty": 1, "refusal": 1}
        assert [(one.row, one.id, one.edit, one.defect) for one in report.findings] == [
            (1, "a", 2, "unchanged"),
            (1, "a", 3, "identical"),
            (1, "a", 4, "empty"),
            (1, "a", 5, "refusal"),
        ]
        assert report.edit_distance is not None
        assert report.edit_distance.n == 5
        assert report.ok

    def test_two_blank_edits_are_empty_and_not_identical(self, sets: Path) -> None:
        write(sets, {**GOOD, "edits": ["", "  ", "How?"]})
        assert check_sets(sets).defects["empty"] == 2
        assert check_sets(sets).defects["identical"] == 0

    def test_numbered_columns_of_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "sets.csv"
        path.write_text(
            "category,original_prompt,prompt_#2,prompt_#1,prompt_#3\n"
            "Harassment,Why?,When?,How?,\nHarassment,Who?,,How?,What?\n"
        )
        report = check_sets(path)
        assert report.edits_per_set == {2: 1, 3: 1}
        assert [(one.row, one.id, one.edit) for one in report.findings] == [(3, "row 3", 2)]

    def test_the_edits_as_json_in_a_cell(self, tmp_path: Path) -> None:
        path = tmp_path / "sets.csv"
        path.write_text('category,original,edits\nHarassment,Why?,"[""How?"", ""When?""]"\n')
        assert check_sets(path).n_edits == 2

    def test_votes_of_the_judge(self, sets: Path) -> None:
        votes = [["safe", "safe"], ["unsafe", "safe", "unsafe"], ["none"], ["safe", "unsafe"]]
        edits = ["How?", "When?", "Who?", "What?"]
        write(sets, {**GOOD, "edits": edits, "judge": {"votes": votes}}, {**GOOD, "edits": ["So?"]})
        report = check_sets(sets, thresholds=Thresholds(max_unsafe=0.4))
        assert report.verdicts == {"safe": 1, "unsafe": 2, "undecided": 1}
        assert report.defects["unsafe"] == 2
        assert [one.edit for one in report.findings] == [2, 4]
        assert report.ok


class TestRowsThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"edits": "one"}, "edits"),
            ({"edits": []}, "edits"),
            ({"edits": ["one", 2]}, "edits"),
            ({"edits": ["lone \ud83d"]}, "edits"),
            ({"edits": None}, "edits"),
            ({"original": ""}, "original"),
            ({"original": None}, "original"),
            ({"id": "\ud83d"}, "id"),
            ({"judge": {"votes": [["safe"]]}}, "judge"),
            ({"judge": {"votes": ["safe", "safe"]}}, "judge"),
        ],
    )
    def test_are_problems_with_their_row(
        self, sets: Path, change: dict[str, object], field: str
    ) -> None:
        good = {**GOOD, "edits": ["How?", "When?"]}
        report = check_sets(write(sets, good, {**good, **change}, "{not json"))
        assert [problem.row for problem in report.problems] == [2, 3]
        assert report.problems[0].field == field
        assert str(report.problems[0]).isprintable()
        assert report.n_sets == 1
        assert not report.ok

    def test_no_usable_row(self, sets: Path) -> None:
        write(sets, {**GOOD, "edits": []})
        with pytest.raises(DataError, match=r"sets.jsonl, row 1: edits: .* no row of it is a"):
            check_sets(sets)

    def test_other_columns(self, sets: Path) -> None:
        write(sets, {"type": "homonyms", "unsafe": "Why?", "safe": "How?"})
        with pytest.raises(DataError, match="has no column category"):
            check_sets(sets)


class TestThresholds:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_unchanged", 0.2),
            ("max_identical", 0.2),
            ("max_empty", 0.2),
            ("max_refusal", 0.2),
            ("max_unsafe", 0.2),
            ("max_edit_distance", 0.3),
        ],
    )
    def test_pass_at_the_value_and_fail_below(self, sets: Path, name: str, value: float) -> None:
        edits = [ORIGINAL, "Tell me a joke.", "Tell me a joke", "", "I can't help with that."]
        votes = [["unsafe"], *[["safe"]] * 4]
        write(sets, {**GOOD, "edits": edits, "judge": {"votes": votes}})
        # distances 0, 0.2, 0.2 and 1: their median is 0.2
        value = 0.2 if name == "max_edit_distance" else value
        assert check_sets(sets, thresholds=Thresholds(**{name: value})).ok
        report = check_sets(sets, thresholds=Thresholds(**{name: value - 0.001}))
        assert not report.ok
        (result,) = report.thresholds
        assert (result.name, result.value, result.passed) == (name, pytest.approx(value), False)

    def test_similarity(self, sets: Path) -> None:
        encoder = TableEncoder({"o": [1, 0], "near": [0.8, 0.6], "far": [0, 1]})
        write(sets, {**GOOD, "original": "o", "edits": ["near", "far", " ", "o"]})
        report = check_sets(sets, thresholds=Thresholds(min_similarity=0.8), encoder=encoder)
        assert report.similarity is not None
        assert report.similarity.n == 3
        assert report.similarity.median == pytest.approx(0.8)
        assert report.encoder == "table"
        assert sorted(encoder.encoded) == ["far", "near", "o"]
        higher = Thresholds(min_similarity=0.81)
        assert not check_sets(sets, thresholds=higher, encoder=encoder).ok

    def test_a_batch_of_blank_edits_has_no_similarity(self, sets: Path) -> None:
        write(sets, {**GOOD, "edits": [" "]})
        report = check_sets(sets, encoder=load_encoder("fake"))
        assert report.similarity is None
        assert report.edit_distance is None

    def test_batches_do_not_change_a_number(
        self, sets: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [
            {**GOOD, "original": f"Tell me {i} jokes", "edits": [f"Tell {i}", f"{i} me jokes x"]}
            for i in range(50)
        ]
        write(sets, *rows)
        whole = check_sets(sets, encoder=load_encoder("fake"))
        monkeypatch.setattr("safe_embed.contrast.validity._SETS_AT_ONCE", 7)
        calls: list[int] = []
        assert whole == check_sets(
            sets, encoder=load_encoder("fake"), progress=lambda done, _total: calls.append(done)
        )
        assert calls == [7, 14, 21, 28, 35, 42, 49, 50]

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"max_unchanged": 1.1}, "max-unchanged must be from 0 to 1, got 1.1"),
            ({"max_empty": float("nan")}, "max-empty must be"),
            ({"max_edit_distance": -1.0}, "max-edit-distance must be at least 0, got -1"),
            ({"min_similarity": -2.0}, "min-similarity must be from -1 to 1"),
        ],
    )
    def test_limits_that_make_no_sense(self, limits: dict[str, float], message: str) -> None:
        with pytest.raises(InputError, match=message):
            Thresholds(**limits)

    def test_without_what_they_need(self, sets: Path) -> None:
        write(sets, {**GOOD, "edits": [" "]})
        with pytest.raises(InputError, match="needs an encoder"):
            check_sets(sets, thresholds=Thresholds(min_similarity=0.5))
        with pytest.raises(InputError, match="holds no votes of a judge, so max-unsafe"):
            check_sets(sets, thresholds=Thresholds(max_unsafe=0.5))
        with pytest.raises(InputError, match="holds no edits that are not blank"):
            check_sets(sets, thresholds=Thresholds(max_edit_distance=0.5))


class TestDistribution:
    def test_by_hand(self) -> None:
        found = Distribution.of([0.0, 0.2, 0.6, 5.0, -1.0], bin_width=0.2)
        assert found is not None
        assert found.histogram == (2, 1, 0, 1, 0, 0, 0, 0, 0, 1)
        assert (found.median, found.maximum, found.minimum) == (0.2, 5.0, -1.0)

    @given(st.lists(st.floats(-2, 20), min_size=1), st.sampled_from([0.1, 0.2, 1.0]))
    def test_each_value_is_in_one_bin(self, values: list[float], bin_width: float) -> None:
        found = Distribution.of(values, bin_width=bin_width)
        assert found is not None
        assert sum(found.histogram) == found.n == len(values)
        assert len(found.histogram) == N_BINS
        assert found.minimum <= found.p10 <= found.median <= found.p90 <= found.maximum
        assert found.mean == pytest.approx(np.mean(values))


@pytest.mark.paper
def test_the_papers_sets_have_no_defect_and_edits_that_are_not_small(paper_data: Path) -> None:
    report = check_sets(paper_data / "contrast_parsed.jsonl")
    assert (report.n_sets, report.n_edits) == (939, 4695)
    assert report.edits_per_set == {5: 939}
    assert set(report.defects.values()) == {0}
    assert report.edit_distance is not None
    assert report.edit_distance.median == pytest.approx(0.75)
    assert report.edit_distance.maximum == pytest.approx(2.5)
