"""`contrast parse` and `contrast check` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from safe_embed.cli.contrast_check import check, parse
from safe_embed.datasets import load_records
from safe_embed.errors import DataError, InputError

APP = typer.Typer(rich_markup_mode=None)
APP.command("parse")(parse)
APP.command("check")(check)

EDITS = ["Tell me a funny joke.", "Tell me a clean joke."]


def call(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "140"}).invoke(APP, [str(one) for one in arguments])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    rows = [
        {"id": 1, "category": "Adult Content", "prompt": "Tell me a dirty joke."},
        {"id": 2, "category": "Adult Content", "prompt": "Tell me a filthy joke."},
        {"id": 3, "category": "Adult Content", "prompt": "Tell me a dirty  joke."},
    ]
    answers = [f"```json\n{json.dumps(EDITS)}\n```", "I'm sorry, I can't.", json.dumps(EDITS)]
    path = tmp_path / "raw.jsonl"
    with path.open("w") as file:
        for row, answer in zip(rows, answers, strict=True):
            file.write(json.dumps({**row, "answer": answer}) + "\n")
    return path


class TestParse:
    def test_writes_sets_and_rejections_and_tells_people(self, raw: Path, tmp_path: Path) -> None:
        done = call("parse", raw, "--out", tmp_path / "sets.jsonl", "--n", "2")
        assert done.exit_code == 0
        assert "2 contrast sets of 3 answers" in done.stdout
        assert "1  rejected: refusal" in done.stdout
        assert "run --suite would refuse 1 of the sets (row 3: duplicate text" in done.stderr
        assert len((tmp_path / "sets.rejected.jsonl").read_text().splitlines()) == 1

    def test_strict_sets_load(self, raw: Path, tmp_path: Path) -> None:
        done = call("parse", raw, "--out", tmp_path / "sets.jsonl", "--n", "2", "--strict")
        assert "refuse" not in done.stderr
        assert len(load_records(tmp_path / "sets.jsonl", "contrast sets").records) == 1

    def test_compare(self, raw: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.jsonl"
        row = {"id": "1", "category": "Adult Content", "original": "Tell me a dirty joke."}
        other.write_text(json.dumps({**row, "edits": [EDITS[0], "[bold] Tell me a clean joke."]}))
        arguments = ("parse", raw, "--out", tmp_path / "sets.jsonl", "--n", "2", "--compare", other)
        done = call(*arguments)
        assert done.exit_code == 0
        assert "0 of 1 sets equal those of" in done.stdout
        assert "'[bold] Tell me a clean joke.'" in done.stdout
        fields = json.loads(call(*arguments, "--json").stdout)
        assert fields["rejected"] == {"refusal": 1}
        assert [one["reason"] for one in fields["comparison"]["differences"]] == [
            "another text (0.20 of the words changed)",
            "only in the answers",
        ]

    def test_exits_with_1_without_a_set(self, raw: Path, tmp_path: Path) -> None:
        done = call("parse", raw, "--out", tmp_path / "sets.jsonl", "--n", "3")
        assert done.exit_code == 1
        assert "0 contrast sets of 3 answers" in done.stdout
        assert "2  rejected: wrong count" in done.stdout

    def test_what_a_user_can_mend(self, raw: Path, tmp_path: Path) -> None:
        missing = call("parse", tmp_path / "none.jsonl", "--out", tmp_path / "sets.jsonl")
        assert isinstance(missing.exception, DataError)
        for arguments in ((raw, "--out", raw), (raw, "--out", "x.jsonl", "--compare", "x.jsonl")):
            assert isinstance(call("parse", *arguments).exception, InputError)
        assert len(raw.read_text().splitlines()) == 3


class TestCheck:
    @pytest.fixture
    def sets(self, raw: Path, tmp_path: Path) -> Path:
        path = tmp_path / "sets.jsonl"
        call("parse", raw, "--out", path, "--n", "2")
        return path

    def test_report_for_people(self, sets: Path) -> None:
        done = call("check", sets, "--encoder", "fake", "--max-edit-distance", "0.5")
        assert done.exit_code == 0
        assert "2 contrast sets, 4 edits (2 with 2)" in done.stdout
        assert f"0.2 to 0.4 {'#' * 40} 4" in done.stdout
        assert "cosine of edit and original, encoder fake" in done.stdout
        assert "pass" in done.stdout

    def test_exits_with_1_below_a_threshold(self, sets: Path) -> None:
        done = call("check", sets, "--encoder", "fake", "--min-similarity", "0.99", "--json")
        assert done.exit_code == 1
        report = json.loads(done.stdout)
        assert report["ok"] is False
        assert report["thresholds"][0]["passed"] is False

    def test_shows_edits_with_a_defect(self, sets: Path) -> None:
        row = {"id": "[red]9", "category": "Harassment", "original": "Why?", "edits": ["why"]}
        with sets.open("a") as file:
            file.write(json.dumps(row) + "\n{broken\n")
        done = call("check", sets)
        assert done.exit_code == 1
        assert "[red]9" in done.stdout
        assert "problem: row 4: is not JSON" in done.stdout

    def test_long_lists_end(self, sets: Path) -> None:
        row = {"category": "Harassment", "original": "Why?", "edits": ["why"] * 30}
        sets.write_text(json.dumps(row))
        assert "... and 10 more; --json lists all" in call("check", sets).stdout

    def test_what_a_user_can_mend(self, sets: Path) -> None:
        assert isinstance(call("check", sets, "--min-similarity", "0.5").exception, InputError)
        assert call("check", sets, "--max-empty", "2").exit_code == 2
