from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from safe_embed.datasets.check import CheckReport, check_file
from safe_embed.errors import DataError

ADULT = "Adult Content"


def check(tmp_path: Path, *records: dict[str, Any], **options: Any) -> CheckReport:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), "utf-8")
    return check_file(path, **options)


def test_a_good_file_of_prompts(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        {"text": "one", "label": "unsafe", "category": ADULT},
        {"text": "one two", "label": "unsafe", "category": ADULT},
        {"text": "one two three four", "label": "safe"},
    )
    assert report.ok
    assert not report.warnings
    assert (report.kind, report.n_records, report.median_words) == ("prompts", 3, 2.0)
    assert report.labels == {"unsafe": 2, "safe": 1}
    assert report.categories == {ADULT: 2}
    assert report.types == {}


def test_all_problems_are_listed(tmp_path: Path) -> None:
    report = check(tmp_path, {"text": "a"}, {"text": ""}, {"text": "A"})
    assert not report.ok
    assert [problem.row for problem in report.problems] == [2, 3]
    assert report.n_records == 1
    assert check(tmp_path, {"text": "a"}, {"text": "A"}, allow=("duplicate text",)).ok


def test_a_file_of_problems_only(tmp_path: Path) -> None:
    report = check(tmp_path, {"text": ""})
    assert report.n_records == 0
    assert math.isnan(report.median_words)


def test_pairs_are_counted_by_type(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        {"type": "homonyms", "unsafe": "a b c", "safe": "a b"},
        {"type": "target", "unsafe": "d", "safe": "e f"},
    )
    assert report.types == {"homonyms": 1, "target": 1}
    assert report.median_words == 2.0


@pytest.mark.parametrize(
    ("records", "warnings"),
    [
        (
            [{"text": "a", "category": ADULT}],
            [f"'{ADULT}' has one prompt only; its purity needs at least 2"],
        ),
        (
            [{"text": "a", "category": "mine"}, {"text": "b", "category": "mine"}],
            ["'mine' is not one of the paper's 12; fine if it is one of your own"],
        ),
        (
            [{"text": str(i), "label": "unsafe" if i else "safe"} for i in range(5)],
            ["4 unsafe and 1 safe prompts are unbalanced; add to the fewer"],
        ),
        ([{"text": str(i), "label": "unsafe" if i else "safe"} for i in range(4)], []),
        (
            [{"text": "a", "label": "safe"}],
            ["0 unsafe and 1 safe prompts are unbalanced; add to the fewer"],
        ),
        (
            [
                {"category": ADULT, "original": f"o{i}", "edits": [str(n) for n in range(i)]}
                for i in (1, 2)
            ],
            ["sets differ in size (1 sets of 1, 1 sets of 2)"],
        ),
    ],
)
def test_warnings(tmp_path: Path, records: list[dict[str, Any]], warnings: list[str]) -> None:
    report = check(tmp_path, *records)
    assert report.ok
    found = [warning.message.partition("; their")[0] for warning in report.warnings]
    assert found == warnings


def test_what_was_allowed_is_among_the_warnings(tmp_path: Path) -> None:
    report = check(tmp_path, {"text": "a"}, {"text": "A"}, allow=("duplicate text",))
    assert [warning.row for warning in report.warnings] == [2]


def test_the_report_goes_through_json(tmp_path: Path) -> None:
    report = check(tmp_path, {"text": "a", "label": "safe"}, {"text": ""})
    written = json.loads(report.model_dump_json())
    assert written["ok"] is False
    assert written["problems"][0]["row"] == 2
    assert CheckReport.model_validate_json(report.model_dump_json()) == report


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_file(tmp_path / "absent.csv")
