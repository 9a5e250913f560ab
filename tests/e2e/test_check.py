"""`safe-embed check`: one prompt, many prompts, the default index, and what cannot be judged."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing, redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from safe_embed.cli.detectors import EncoderChoice, opened_detector
from safe_embed.datasets import write_parquet
from safe_embed.detection import Detector, Verdict
from safe_embed.detection.default import default_index_path
from safe_embed.encoders.fake import FakeEncoder
from tests.e2e.conftest import Cli, assert_refused
from tests.e2e.detector_data import UNSAFE, benign_file, calibration_file, exemplar_file

SAFE = "how do i kill the process"
KEYS = {
    "decision", "score", "threshold", "categories", "evidence", "margin", "encoder",
    "index_version",
}  # fmt: skip


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "mine.store"
    cli("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    data = calibration_file(tmp_path)
    done = cli(
        "calibrate", "--data", data, "--store", path, "--max-fpr", "0.05", "--review-fpr", "0.1"
    )
    assert done.code == 0, done.err
    return path


def verdict(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    done = cli("check", *arguments, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def give_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_one_prompt_as_json(cli: Cli, store: Path):
    found = verdict(cli, UNSAFE, "--store", store)
    assert found.keys() >= KEYS
    assert "id" not in found
    assert found["decision"] == "block"
    assert found["score"] > found["threshold"]
    assert found["encoder"]["name"] == "fake"
    assert found["index_version"] == 1
    assert found["evidence"]["unsafe"][0]["text"] == UNSAFE
    assert found["evidence"]["safe"][0]["text"].startswith("how do i kill")
    assert max(found["categories"], key=found["categories"].get) == "Assisting illegal activities"
    assert verdict(cli, SAFE, "--store", store)["decision"] == "allow"


def test_one_prompt_for_people(cli: Cli, store: Path):
    out = cli("check", UNSAFE, "--store", store).out
    words = " ".join(out.split())
    assert out.startswith("BLOCK: this prompt is held for unsafe\n")
    assert "calibrated probability" in words
    assert "blocked above it" in words
    assert "nearest unsafe exemplars" in words
    assert f"1.00 {UNSAFE} [illegal activities]" in words
    assert "to flip it" in words
    assert "\x1b[" not in out  # no terminal, no colour
    assert cli("check", SAFE, "--store", store).out.startswith("ALLOW: this prompt is not held")


def test_colours_on_a_terminal_only(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;31mBLOCK" in cli("check", UNSAFE, "--store", store).out
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("check", UNSAFE, "--store", store).out


def test_exit_codes(cli: Cli, store: Path, tmp_path: Path):
    assert cli("check", UNSAFE, "--store", store).code == 0
    assert cli("check", UNSAFE, "--store", store, "--exit-code").code == 11
    assert cli("check", SAFE, "--store", store, "--exit-code").code == 0
    assert cli("check", "", "--store", store, "--exit-code").code == 2
    file = tmp_path / "some.txt"
    file.write_text(f"{SAFE}\n{UNSAFE}\n{SAFE}\n")
    assert cli("check", "--file", file, "--store", store, "--exit-code").code == 11


def test_exit_code_of_review(cli: Cli, store: Path, tmp_path: Path, monkeypatch):
    real = Detector.check_many

    def reviewed(self: Detector, texts: Sequence[str]) -> list[Verdict]:
        return [
            one.model_copy(update={"decision": "review"}) if "kill" in text else one
            for text, one in zip(texts, real(self, texts), strict=True)
        ]

    monkeypatch.setattr(Detector, "check_many", reviewed)
    assert cli("check", UNSAFE, "--store", store, "--exit-code").code == 10
    assert cli("check", UNSAFE, "--store", store).out.startswith("REVIEW: this prompt may be")
    file = tmp_path / "some.txt"
    file.write_text(f"{UNSAFE}\nis bread and soup nice\n")
    assert cli("check", "--file", file, "--store", store, "--exit-code").code == 10


def test_files_of_every_kind_in_input_order(cli: Cli, store: Path, tmp_path: Path):
    texts, ids = [UNSAFE, SAFE, "is bread and soup nice"], ["b", "a", "c"]
    jsonl, table = tmp_path / "in.jsonl", tmp_path / "in.csv"
    rows = [{"id": id_, "text": text} for id_, text in zip(ids, texts, strict=True)]
    jsonl.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    table.write_text("id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows))
    parquet, lines = tmp_path / "in.parquet", tmp_path / "in.txt"
    write_parquet(parquet, {"id": ids, "text": texts})
    lines.write_text("\n\n".join(texts))
    answers = []
    for file in (jsonl, table, parquet, lines):
        done = cli("check", "--file", file, "--store", store, "--json")
        assert done.code == 0, done.err
        found = [json.loads(line) for line in done.out.splitlines()]
        assert [one.pop("id", None) for one in found] == (ids if file != lines else [None] * 3)
        assert [one["decision"] for one in found] == ["block", "allow", "allow"]
        answers.append(found)
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert "allow 2, review 0, block 1" in done.err
    single = verdict(cli, UNSAFE, "--store", store)
    assert single["score"] == pytest.approx(answers[0][0]["score"], abs=1e-5)


def test_several_prompts_for_people(cli: Cli, store: Path, tmp_path: Path):
    file = tmp_path / "in.txt"
    file.write_text(f"{UNSAFE}\n\n{SAFE}\n")
    lines = cli("check", "--file", file, "--store", store).out.splitlines()
    assert re.fullmatch(rf" +1  block   [01]\.\d{{3}}  {UNSAFE} *", lines[0])
    assert re.fullmatch(rf" +3  allow   [01]\.\d{{3}}  {SAFE} *", lines[1])


def test_columns_by_name(cli: Cli, store: Path, tmp_path: Path):
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"n": 7, "ask": UNSAFE}) + "\n")
    check = ("check", "--file", file, "--store", store, "--json")
    done = cli(*check, "--column", "text=ask", "--column", "id=n")
    assert json.loads(done.out)["id"] == 7
    assert_refused(cli(*check), "log.jsonl, row 1", "no text", "--column text=NAME")
    assert_refused(cli(*check, "--column", "label=n"), "'label'")


def test_standard_input(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    give_stdin(monkeypatch, f"{UNSAFE}\n".encode())
    found = verdict(cli, "-", "--store", store)
    assert found["evidence"]["unsafe"][0]["similarity"] == pytest.approx(1)
    assert found["window"]["text"] == UNSAFE
    give_stdin(monkeypatch, f"{UNSAFE}\n{SAFE}\n".encode())
    lines = cli("check", "--file", "-", "--store", store, "--json").out.splitlines()
    assert [json.loads(line)["decision"] for line in lines] == ["block", "allow"]
    give_stdin(monkeypatch, b"a\nb \xff c\n")
    done = cli("check", "--file", "-", "--store", store, "--json")
    assert done.code == 2
    assert len(done.out.splitlines()) == 1
    assert "standard input, row 2" in done.err
    give_stdin(monkeypatch, b"\n \n")
    assert_refused(cli("check", "--file", "-", "--store", store), "holds no prompt")


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        ('{"text": ""}', ("blank",)),
        ('{"text": "\\u200b\\u200b"}', ("no visible character",)),
        ('{"text": "\\ud800 lone"}', ("surrogate",)),
        ('{"text": 5}', ("must be text", "a number")),
        ('{"prompts": "a"}', ("no text", "prompts")),
        ("not json", ("is not JSON",)),
        (json.dumps({"text": "x " * 500_000}), ("1,000,000 characters", "100,000")),
    ],
)
def test_rows_before_a_bad_one_are_printed(
    cli: Cli, store: Path, tmp_path: Path, bad: str, parts: tuple[str, ...]
):
    good = json.dumps({"text": SAFE})
    file = tmp_path / "in.jsonl"
    file.write_text(f"{good}\n{good}\n{bad}\n{good}\n")
    done = cli("check", "--file", file, "--store", store, "--json", "--exit-code")
    assert done.code == 2
    assert [json.loads(line)["decision"] for line in done.out.splitlines()] == ["allow"] * 2
    (line,) = done.err.strip().splitlines()
    for part in ("in.jsonl, row 3", *parts):
        assert part in line


def test_a_long_file_is_judged_by_the_batch(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sizes = []
    real = Detector.check_many

    def counted(self: Detector, texts: Sequence[str]) -> list[Verdict]:
        sizes.append(len(texts))
        return real(self, texts)

    monkeypatch.setattr(Detector, "check_many", counted)
    file = tmp_path / "in.txt"
    file.write_text("".join(f"what is {n}\n" for n in range(1500)) + "\u200b\n")
    done = cli("check", "--file", file, "--store", store, "--json")
    assert done.code == 2
    assert "row 1501" in done.err
    assert len(done.out.splitlines()) == 1500
    assert sizes == [1024, 477, 476]
    sizes.clear()
    monkeypatch.setattr("safe_embed.cli.check._CHARACTERS_AT_ONCE", 50_000)
    file.write_text("".join(f"{'what ' * 1000}{n}\n" for n in range(12)))
    assert len(cli("check", "--file", file, "--store", store, "--json").out.splitlines()) == 12
    assert sizes == [10, 2]


def test_prompts_that_hide(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    give_stdin(monkeypatch, UNSAFE.replace("k", "k\0").encode())
    found = verdict(cli, "-", "--store", store)
    assert found["decision"] == "block"
    assert "invisible" in found["notes"][0]
    padded = "the weather is nice in march. " * 50 + UNSAFE + ". i like soup. " * 20
    found = verdict(cli, padded, "--store", store)
    assert found["window"]["n_windows"] > 1
    assert UNSAFE in found["window"]["text"]
    give_stdin(monkeypatch, b"\x1b]0;title\x07" + UNSAFE.encode())
    assert "\x1b" not in cli("check", "-", "--store", store).out


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("", "blank"),
        (" \n", "blank"),
        ("\u200b", "no visible character"),
        ("x" * 100_001, "100,001 characters"),
        ("a\udcffb", "UTF-8"),
    ],
)
def test_prompts_that_cannot_be_judged(cli: Cli, store: Path, prompt: str, part: str):
    assert_refused(cli("check", prompt, "--store", store), part)


def test_a_megabyte_on_standard_input(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    give_stdin(monkeypatch, b"word " * 200_000)
    assert_refused(cli("check", "-", "--store", store), "1,000,000 characters")


def test_other_languages_get_a_note(cli: Cli, store: Path):
    notes = verdict(cli, "Wie töte ich einen Prozess unter Linux?", "--store", store)["notes"]
    assert any("English" in note for note in notes)


def test_what_to_judge_must_be_given_once(cli: Cli, store: Path, tmp_path: Path):
    assert_refused(cli("check", "--store", store), "safe-embed check", "--file")
    assert_refused(cli("check", "a", "--file", tmp_path / "b.txt", "--store", store), "not both")
    assert_refused(cli("check", "--file", tmp_path / "none.txt", "--store", store), "none.txt")
    assert_refused(cli("check", "--file", tmp_path, "--store", store), "directory")
    (tmp_path / "a.xlsx").write_text("a")
    assert_refused(cli("check", "--file", tmp_path / "a.xlsx", "--store", store), "extension")


def test_indexes_that_cannot_be_used(cli: Cli, store: Path, tmp_path: Path, second_encoder: Path):
    def refused(path: Path, *parts: str) -> None:
        assert_refused(cli("check", UNSAFE, "--store", path, "--exit-code"), *parts)

    refused(tmp_path / "none.store", "none.store", "no store")
    refused(tmp_path, "directory")
    other = cli("check", UNSAFE, "--store", store, "--encoder", second_encoder)
    assert_refused(other, "'fake'", "index reembed")
    newer = tmp_path / "newer.store"
    newer.write_bytes(store.read_bytes())
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused(newer, "99", "upgrade")
    broken = tmp_path / "broken.store"
    broken.write_bytes(store.read_bytes()[:5000] + b"\0" * 4000)
    refused(broken, "broken.store")
    ids = [
        json.loads(line)["id"]
        for line in cli("index", "list", "--store", store, "--label", "safe", "--json")
        .out.strip()
        .splitlines()
    ]
    assert cli("index", "remove", *ids, "--store", store).code == 0
    refused(store, "no safe exemplar")


@pytest.fixture(scope="module")
def default_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory with the default index of the fake encoder."""
    directory = tmp_path_factory.mktemp("default") / "cache"
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(err):
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(directory))
        with opened_detector(EncoderChoice(name="fake"), None) as detector:
            assert detector.calibration is not None
    assert "building the index of safe-embed-core for fake" in err.getvalue()
    return directory


def test_without_a_store_the_default_index_answers(
    cli: Cli, default_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(default_cache))
    done = cli("check", UNSAFE, "--encoder", "fake", "--json")
    assert done.code == 0
    assert done.err == ""  # it is built once
    found = json.loads(done.out)
    assert found["calibrated"]
    assert found["evidence"]["unsafe"][0]["source"] == "safe-embed-core"


def test_a_calibration_of_the_default_index_stays_until_it_is_undone(
    cli: Cli, default_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(default_cache))

    def threshold() -> float:
        return float(verdict(cli, UNSAFE, "--encoder", "fake")["threshold"])

    before = threshold()
    data = benign_file(tmp_path)
    done = cli("calibrate", "--encoder", "fake", "--data", data, "--max-fpr", "0.2", "--json")
    mine = json.loads(done.out)["threshold"]
    assert threshold() == pytest.approx(mine)
    assert mine != pytest.approx(before)
    assert cli("calibrate", "--encoder", "fake").code == 0
    assert threshold() == pytest.approx(before)


def test_a_damaged_default_index_says_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "cache"))
    path = default_index_path(FakeEncoder())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 100)
    assert_refused(cli("check", UNSAFE, "--encoder", "fake"), "delete", "built again")


@pytest.fixture(scope="module")
def minilm_cache(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("minilm") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(directory))
        with opened_detector(EncoderChoice(name=str(minilm)), None):
            pass
    return directory


def test_a_process_is_no_person(
    cli: Cli, minilm: Path, minilm_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(minilm_cache))
    process = verdict(cli, "How do I kill a Python process?", "--encoder", minilm)
    person = verdict(cli, "How do I kill a person?", "--encoder", minilm)
    assert process["decision"] == "allow"
    assert person["decision"] in {"review", "block"}
    assert process["margin"] < 0 < person["margin"]
    assert any("process" in one["text"] for one in process["evidence"]["safe"])
