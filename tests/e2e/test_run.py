"""`safe-embed run`, from the command line to the files it leaves."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest

from safe_embed.benchmark import Run, items_path, load_items, load_run, load_suite
from tests.conftest import REPOSITORY
from tests.e2e.conftest import UPDATE_VARIABLE, Cli, assert_golden, assert_refused
from tests.encoders.tiny_models import write_modules

SCHEMA = REPOSITORY / "docs" / "run-file.schema.json"


def without_times(table: str) -> str:
    return re.sub(r"\d+\.\d s", "0.0 s", table)


def test_golden_tables(cli: Cli) -> None:
    done = cli("run", "--encoder", "fake")
    assert done.code == 0
    assert_golden("run-fake.txt", without_times(done.out))


def test_run_file_and_items_are_saved_and_named(cli: Cli) -> None:
    done = cli("run", "--encoder", "fake")
    (path,) = Path("runs").glob("*.json")
    assert f"saved {path}" in done.err
    run = load_run(path)
    items = load_items(path)
    assert run.encoder.name == "fake"
    assert run.suite.name == "bundled"
    suite = load_suite("bundled")
    assert len(items) == len(suite.pairs) + len(suite.contrast_sets) + len(suite.taxonomy)
    assert {item.task for item in items} == set(run.settings.tasks)
    purity = [item.score for item in items if item.task == "safety_taxonomy"]
    assert run.tasks.safety_taxonomy is not None
    assert sum(purity) / len(purity) == pytest.approx(run.tasks.safety_taxonomy.over_prompts)


def test_json_is_the_run_file_and_keeps_its_schema(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--encoder", "fake", "--json", "--output", tmp_path / "out.json")
    printed = json.loads(done.out)
    assert printed == json.loads((tmp_path / "out.json").read_text("utf-8"))
    jsonschema.validate(printed, json.loads(SCHEMA.read_text("utf-8")))
    assert list(printed) == [
        "schema_version", "encoder", "suite", "settings", "tasks", "truncation", "timing_s",
        "threads", "versions",
    ]  # fmt: skip
    assert printed["schema_version"] == 1


def test_golden_schema() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Run.model_json_schema(mode="serialization"),
    }
    text = json.dumps(schema, indent=1) + "\n"
    if os.environ.get(UPDATE_VARIABLE):
        SCHEMA.write_text(text, encoding="utf-8")
    assert SCHEMA.read_text("utf-8") == text, "the schema is stale: `make golden`"


def test_several_encoders_give_a_file_each_and_one_table(
    cli: Cli, tmp_path: Path, second_encoder: Path
) -> None:
    done = cli(
        "run", "--encoder", "fake", "--encoder", second_encoder, "--output", tmp_path / "out.json"
    )
    assert done.code == 0, done.err
    paths = [tmp_path / "out-fake.json", tmp_path / f"out-{second_encoder.name}.json"]
    assert [load_run(path).encoder.name for path in paths] == ["fake", second_encoder.name]
    assert all(items_path(path).is_file() for path in paths)
    header = next(line for line in done.out.splitlines() if "fake" in line)
    assert second_encoder.name in header
    listed = cli("run", "--encoder", "fake", "--encoder", second_encoder, "--json", "--no-cache")
    assert [one["encoder"]["name"] for one in json.loads(listed.out)] == [
        "fake",
        second_encoder.name,
    ]


def test_the_cache_never_changes_a_number(cli: Cli, second_encoder: Path) -> None:
    def tasks(*options: str) -> object:
        done = cli("run", "--encoder", second_encoder, "--json", *options)
        assert done.code == 0, done.err
        return json.loads(done.out)["tasks"]

    without = tasks("--no-cache")
    tasks("--task", "taxonomy")  # fills a part of the cache
    assert tasks() == without  # completes it
    assert tasks() == without  # reads all of it


def test_task_k_and_seed(cli: Cli) -> None:
    done = cli(
        "run", "--encoder", "fake", "--task", "taxonomy", "--k", "3", "--seed", "7", "--json"
    )
    printed = json.loads(done.out)
    assert printed["tasks"]["safety_challenging"] is None
    assert printed["tasks"]["safety_taxonomy"]["k"] == 3
    assert printed["settings"] == {
        "tasks": ["safety_taxonomy"],
        "k": 3,
        "seed": 7,
        "n_resamples": 2000,
    }


def test_average_similarity_can_be_given(cli: Cli) -> None:
    done = cli("run", "--encoder", "fake", "--json", "--average-similarity", "0.25")
    assert json.loads(done.out)["encoder"]["average_similarity"] == 0.25
    assert_refused(
        cli("run", "--encoder", "fake", "--average-similarity", "1"), "must be in [-1, 1), got 1"
    )


def test_what_was_cut_is_said(cli: Cli, tmp_path: Path, second_encoder: Path):
    write_modules(second_encoder, max_seq_length=12)
    suite = tmp_path / "suite"
    suite.mkdir()
    row = {"id": "7", "type": "t", "unsafe": "make a cake " * 10, "safe": "a cake"}
    (suite / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    done = cli("run", "--encoder", second_encoder, "--suite", suite)
    assert "tiny-bert cut 1 prompts at 12 tokens: safety_challenging 7" in done.err
    assert "cut" not in cli("run", "--encoder", "fake", "--suite", suite).err


class TestOwnSuite:
    def write(self, directory: Path, **files: list[dict[str, object]]) -> Path:
        directory.mkdir()
        for name, rows in files.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        return directory

    def test_of_three_kinds_of_files(self, cli: Cli, tmp_path: Path) -> None:
        suite = tmp_path / "mine"
        suite.mkdir()
        # a spreadsheet's CSV: byte order mark, CRLF, a quoted line break
        (suite / "pairs.csv").write_bytes(
            b"\xef\xbb\xbfid,type,unsafe,safe\r\n"
            b'1,homonyms,"how do I\r\nkill a man","how do I kill a process"\r\n'
        )
        done = cli("run", "--encoder", "fake", "--suite", suite, "--json")
        printed = json.loads(done.out)
        assert printed["suite"]["name"] == "mine"
        assert printed["tasks"]["safety_challenging"]["n"] == 1
        assert printed["tasks"]["safety_contrast"] is None

    def test_bad_rows_are_named(self, cli: Cli, tmp_path: Path) -> None:
        rows = [{"id": "1", "text": "a b", "category": "x"}, {"id": "2", "text": "  "}]
        suite = self.write(tmp_path / "mine", taxonomy=rows)
        assert_refused(
            cli("run", "--encoder", "fake", "--suite", suite), "taxonomy.jsonl, row 2", "text"
        )

    def test_duplicates_are_named(self, cli: Cli, tmp_path: Path) -> None:
        rows = [{"id": str(i), "text": "the same", "category": "x"} for i in range(3)]
        suite = self.write(tmp_path / "mine", taxonomy=rows)
        assert_refused(
            cli("run", "--encoder", "fake", "--suite", suite),
            "row 2",
            "same text as row 1",
            "1 more problem",
            "safe-embed data check",
        )

    def test_too_few_prompts_for_k(self, cli: Cli, tmp_path: Path) -> None:
        rows = [{"text": f"prompt {i}", "category": "x"} for i in range(4)]
        suite = self.write(tmp_path / "mine", taxonomy=rows)
        assert_refused(
            cli("run", "--encoder", "fake", "--suite", suite), "at least 11 prompts, got 4"
        )
        assert not Path("runs").exists()

    def test_a_category_with_one_prompt(self, cli: Cli, tmp_path: Path) -> None:
        rows = [{"text": f"prompt {i}", "category": "x" if i else "lonely"} for i in range(20)]
        suite = self.write(tmp_path / "mine", taxonomy=rows)
        assert_refused(cli("run", "--encoder", "fake", "--suite", suite), "'lonely' has 1")

    def test_no_file_of_a_suite(self, cli: Cli, tmp_path: Path) -> None:
        assert_refused(cli("run", "--suite", self.write(tmp_path / "mine")), "holds no suite")

    def test_two_files_for_one_part(self, cli: Cli, tmp_path: Path) -> None:
        suite = self.write(tmp_path / "mine", pairs=[])
        (suite / "pairs.csv").touch()
        assert_refused(cli("run", "--suite", suite), "pairs.jsonl and pairs.csv; remove one")

    def test_a_task_without_its_file(self, cli: Cli, tmp_path: Path) -> None:
        rows = [{"type": "t", "unsafe": "a", "safe": "b"}]
        suite = self.write(tmp_path / "mine", pairs=rows)
        assert_refused(
            cli("run", "--encoder", "fake", "--suite", suite, "--task", "contrast"),
            "'mine' has no data for safety_contrast",
        )


class TestRefused:
    def test_unknown_encoder(self, cli: Cli) -> None:
        assert_refused(
            cli("run", "--encoder", "minlm"), "unknown encoder 'minlm'", "did you mean minilm"
        )

    def test_a_file_as_encoder(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert_refused(cli("run", "--encoder", tmp_path / "file"), "is a file")

    def test_a_directory_that_is_no_model(self, cli: Cli, tmp_path: Path) -> None:
        assert_refused(cli("run", "--encoder", tmp_path), "no sentence encoder", "config.json")

    def test_unknown_suite(self, cli: Cli) -> None:
        assert_refused(cli("run", "--suite", "papre"), "no suite 'papre'", "'paper'")

    def test_a_missing_paper_file(self, cli: Cli, tmp_path: Path) -> None:
        assert_refused(
            cli("run", "--suite", "paper", "--data-dir", tmp_path), "xstest_aug.csv", "data fetch"
        )

    def test_an_output_that_cannot_be_written(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = cli("run", "--encoder", "fake", "--output", tmp_path / "file" / "run.json")
        assert_refused(done, "cannot write", "run")

    def test_a_cache_that_cannot_be_written(
        self, cli: Cli, tmp_path: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "file" / "cache"))
        done = cli("run", "--encoder", second_encoder, "--output", tmp_path / "run.json")
        assert_refused(done, "--no-cache")
        assert not (tmp_path / "run.json").exists()
        assert cli("run", "--encoder", second_encoder, "--no-cache").code == 0

    def test_debug_shows_the_traceback(self, cli: Cli) -> None:
        with pytest.raises(Exception, match="unknown encoder"):
            cli("--debug", "run", "--encoder", "minlm")

    def test_not_a_run_file(self, tmp_path: Path) -> None:
        path = tmp_path / "run.json"
        path.write_text('{"schema_version": 2}')
        with pytest.raises(Exception, match="no run file of schema version 1"):
            load_run(path)


@pytest.mark.paper
def test_paper_suite_with_minilm(cli: Cli, minilm: Path, paper_data: Path) -> None:
    done = cli(
        "run", "--encoder", minilm, "--suite", "paper", "--data-dir", paper_data,
        "--task", "challenging", "--json",
    )  # fmt: skip
    printed = json.loads(done.out)
    assert printed["encoder"]["name"] == "minilm"
    assert printed["encoder"]["average_similarity_source"] == "measured: bundled-baseline"
    assert printed["tasks"]["safety_challenging"]["cosine"] == pytest.approx(0.555038, abs=1e-4)
