"""`safe-embed data` and `safe-embed baseline` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.datasets import load_core
from tests.e2e.conftest import Cli, assert_refused


class TestList:
    def test_names_licences_and_places(self, cli: Cli) -> None:
        done = cli("data", "list")
        assert done.code == 0
        for part in ("xstest-aug", "CC-BY-4.0", "bundled", "not fetched", "get it yourself"):
            assert part in done.out

    def test_json(self, cli: Cli) -> None:
        rows = json.loads(cli("data", "list", "--json").out)
        by_name = {row["name"]: row for row in rows}
        assert by_name["do-not-answer"]["path"] is None
        assert len(by_name["do-not-answer"]["sha256"]) == 64
        assert Path(by_name["safe-embed-core"]["path"]).is_file()


class TestInfo:
    def test_counts_a_present_data_set(self, cli: Cli) -> None:
        info = json.loads(cli("data", "info", "safe-embed-core", "--json").out)
        assert info["records"] == len(load_core("test"))
        assert len(info["categories"]) == 12
        shown = cli("data", "info", "safe-embed-core").out
        assert "CC-BY-4.0" in shown
        assert "Known gaps" in shown  # of the datasheet

    def test_unknown_name(self, cli: Cli) -> None:
        assert_refused(cli("data", "info", "xstest"), "unknown data set 'xstest'", "xstest-aug")


@pytest.mark.paper
def test_info_of_a_local_copy(cli: Cli, paper_data: Path) -> None:
    info = json.loads(cli("data", "info", "do-not-answer", "--data-dir", paper_data, "--json").out)
    assert info["records"] == 939
    assert len(info["categories"]) == 12


class TestFetch:
    def test_what_is_bundled_is_not_fetched(self, cli: Cli) -> None:
        assert_refused(cli("data", "fetch", "safe-embed-core"), "ships with safe-embed")

    def test_unknown_name_before_anything_is_fetched(self, cli: Cli) -> None:
        assert_refused(
            cli("data", "fetch", "do-not-answer", "nothing"), "unknown data set 'nothing'"
        )


class TestCheck:
    def test_a_good_file(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("id,type,unsafe,safe\n1,homonyms,kill a man,kill a process\n")
        done = cli("data", "check", path)
        assert done.code == 0
        assert "1 pairs can be used" in done.out

    def test_every_problem_with_its_row(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_text(
            '{"text": "one", "label": "unsafe"}\n'
            "not json\n"
            '{"text": "One ", "label": "safe"}\n'
            '{"text": "", "label": "maybe"}\n'
            '{"text": "\\ud800", "label": "safe"}\n'
        )
        done = cli("data", "check", path)
        assert done.code == 1
        for row in ("row 2", "row 3, text", "row 4, text", "row 4, label", "row 5, text"):
            assert f"problem: {row}" in done.out
        report = json.loads(cli("data", "check", path, "--json").out)
        assert [one["row"] for one in report["problems"]] == [2, 3, 4, 4, 5]

    def test_kind_can_be_forced(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("id,type,unsafe,safe\n1,homonyms,kill a man,kill a process\n")
        assert_refused(cli("data", "check", path, "--kind", "contrast-sets"), "has no column")

    @pytest.mark.parametrize(
        ("name", "content", "part"),
        [
            ("empty.csv", b"", "empty"),
            ("header.csv", b"text,label\n", ""),
            ("utf16.csv", "text\nhello\n".encode("utf-16"), "UTF-8"),
            ("broken.parquet", b"PAR1 nothing", "parquet"),
            ("notes.txt", b"hello", "notes.txt"),
        ],
    )
    def test_files_that_cannot_be_read(
        self, cli: Cli, tmp_path: Path, name: str, content: bytes, part: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert_refused(cli("data", "check", tmp_path / name), name, part)

    def test_missing_file(self, cli: Cli, tmp_path: Path) -> None:
        assert_refused(cli("data", "check", tmp_path / "none.csv"), "none.csv")


class TestBaseline:
    def test_of_the_bundled_prompts(self, cli: Cli) -> None:
        result = json.loads(cli("baseline", "--encoder", "fake", "--json").out)
        assert result["data"] == "bundled-baseline"
        assert (result["n_head"], result["n_tail"]) == (60, 60)
        assert result["ci95"][0] < result["mean"] < result["ci95"][1]
        assert "60 x 60 pairs" in cli("baseline", "--encoder", "fake").out

    def test_run_uses_the_same_number(self, cli: Cli) -> None:
        mean = json.loads(cli("baseline", "--encoder", "fake", "--json").out)["mean"]
        run = json.loads(cli("run", "--encoder", "fake", "--json", "--seed", "9").out)
        assert run["encoder"]["average_similarity"] == mean
        assert run["encoder"]["average_similarity_source"] == "measured: bundled-baseline"

    def test_of_a_file_of_ones_own(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "prompts.csv"
        path.write_text("text\n" + "".join(f"prompt number {i}\n" for i in range(30)))
        result = json.loads(cli("baseline", "--encoder", "fake", "--data", path, "--json").out)
        assert result["data"] == "prompts"
        assert (result["n_head"], result["n_tail"]) == (15, 15)

    def test_of_beavertails_as_the_paper_samples_it(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "beavertails_30k_train.jsonl"
        with path.open("w") as file:
            for i in range(1300):
                row = {"prompt": f"prompt {i}", "response": "r", "is_safe": i % 2 == 0}
                file.write(json.dumps(row) + "\n")
        done = cli("baseline", "--encoder", "fake", "--data", path, "--json")
        result = json.loads(done.out)
        assert (result["data"], result["n_head"]) == ("beavertails-30k", 500)
        # the same file in the data directory is found by itself
        in_directory = cli("baseline", "--encoder", "fake", "--data-dir", tmp_path, "--json")
        assert json.loads(in_directory.out)["mean"] == result["mean"]

    def test_too_few_prompts(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "prompts.csv"
        path.write_text("text\none\ntwo\n")
        assert_refused(cli("baseline", "--encoder", "fake", "--data", path), "at least 4 distinct")


class TestEncoders:
    def test_list_says_what_is_on_this_machine(self, cli: Cli) -> None:
        rows = json.loads(cli("encoders", "list", "--json").out)
        assert {row["name"]: row["on_this_machine"] for row in rows}["minilm"] is False
        by_name = {row["name"]: row for row in rows}
        assert by_name["sbert-all"]["in_paper"]
        assert not by_name["potion"]["in_paper"]
        assert by_name["qwen3-embedding"]["license"] == "Apache-2.0"

    def test_list_is_a_table_for_people(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        lines = cli("encoders", "list").out.splitlines()
        (row,) = [line for line in lines if " st5-xxl " in line]
        for cell in ("sentence-transformers/sentence-t5-xxl", "9.7 GB", "768", "256", "yes", "no"):
            assert f" {cell} " in row
        assert any(" text-embedding-3-large " in line and " API " in line for line in lines)

    def test_info(self, cli: Cli) -> None:
        info = json.loads(cli("encoders", "info", "sbert-all", "--json").out)
        assert info["published_average_similarity"] == 0.092
        text = cli("encoders", "info", "sbert-all").out
        assert "0.092" in text
        assert "the SHA-256 of every file" in text

    @pytest.mark.parametrize(
        ("name", "basis"),
        [
            ("e5-base", "no digest in the catalogue"),
            ("st5-base", "the SHA-256 of the files below"),
            ("sup-simcse", "the SHA-256 of the pickle"),
            ("text-embedding-3-large", "the API may change the model"),
        ],
    )
    def test_info_says_what_the_weights_rest_on(self, cli: Cli, name: str, basis: str) -> None:
        assert basis in " ".join(cli("encoders", "info", name).out.split())

    def test_info_shows_prompt_and_adapters(self, cli: Cli) -> None:
        assert "'query: '" in cli("encoders", "info", "e5-base").out
        assert "LLM2Vec-Mistral-7B-Instruct-v2-mntp-unsup" in cli(
            "encoders", "info", "llm2vec-mistral"
        ).out.replace("\n", "")

    def test_fetch_of_an_api(self, cli: Cli) -> None:
        assert_refused(cli("encoders", "fetch", "text-embedding-3-large"), "is an API")

    def test_info_of_an_unknown_one(self, cli: Cli) -> None:
        assert_refused(cli("encoders", "info", "sbert"), "did you mean sbert-all")

    def test_fetch_from_a_directory_that_lacks_files(self, cli: Cli, tmp_path: Path) -> None:
        done = cli("encoders", "fetch", "minilm", "--from", tmp_path)
        assert_refused(done, "is missing", "sentence-transformers/all-MiniLM-L6-v2")

    @pytest.mark.paper
    def test_fetch_from_a_directory(self, cli: Cli, minilm: Path) -> None:
        done = cli("encoders", "fetch", "minilm", "--from", minilm)
        assert done.code == 0, done.err
        assert (Path(done.out.strip()) / "model.safetensors").is_file()
        rows = json.loads(cli("encoders", "list", "--json").out)
        assert {row["name"]: row["on_this_machine"] for row in rows}["minilm"] is True
