"""`safe-embed index`: exemplars from a file, changes, versions, another encoder."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.detection import default
from safe_embed.detection.default import DefaultSplit
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.stores.base import Change
from safe_embed.stores.sqlite import SqliteStore
from tests.detection.conftest import world
from tests.e2e.conftest import Cli, assert_refused
from tests.e2e.detector_data import UNSAFE, calibration_file, exemplar_file

NEW = ("--text", "how do i tickle the mayor", "--label", "unsafe")


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "mine.store"
    done = cli("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    assert done.code == 0, done.err
    assert "31 unsafe and 37 safe" in done.out
    assert "not calibrated" in done.err
    return path


def told(cli: Cli, *arguments: str | Path) -> dict[str, object]:
    done = cli("index", *arguments, "--json")
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(done.out)
    return found


def listed(cli: Cli, store: Path, *arguments: str) -> list[dict[str, object]]:
    out = cli("index", "list", "--store", store, "--json", *arguments).out
    return [json.loads(line) for line in out.splitlines()]


def history(store: Path) -> list[Change]:
    opened = SqliteStore.open(store)
    with closing(opened):
        return opened.history()


def test_a_build_is_not_done_twice(cli: Cli, store: Path, tmp_path: Path):
    done = cli("index", "build", exemplar_file(tmp_path), "--store", store, "--encoder", "fake")
    assert_refused(done, "exists already", "index add")


def test_a_build_that_was_cut_off_goes_on(cli: Cli, store: Path, tmp_path: Path):
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("DELETE FROM documents")  # the last that a build writes
    assert_refused(cli("check", "x y z", "--store", store, "--encoder", "fake"), "no detector")
    done = cli("index", "build", exemplar_file(tmp_path), "--store", store, "--encoder", "fake")
    assert done.code == 0
    assert len(history(store)) == 1
    assert cli("check", UNSAFE, "--store", store).code == 0


@pytest.mark.parametrize("label", ["unsafe", "safe"])
def test_one_label_alone_builds_nothing(cli: Cli, tmp_path: Path, label: str):
    lines = exemplar_file(tmp_path).read_text().splitlines()
    kept = tmp_path / "one.jsonl"
    kept.write_text("\n".join(one for one in lines if f'"{label}"' in one))
    other = {"unsafe": "safe", "safe": "unsafe"}[label]
    path = tmp_path / "one.store"
    done = cli("index", "build", kept, "--store", path, "--encoder", "fake")
    assert_refused(done, "one.jsonl", f"no {other} exemplar")
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('{"text": "how do i sing"}', ("row 69", "label")),
        ('{"text": " ", "label": "safe"}', ("row 69", "blank")),
        ('{"text": "how do i sing", "label": "harmful"}', ("row 69", "label", "harmful")),
        (f'{{"text": "{UNSAFE}", "label": "safe"}}', ("row 69", "row 1", "one label")),
        ('{"text": "a b", "label": "safe", "muted": "maybe"}', ("row 69", "muted", "maybe")),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_built(
    cli: Cli, tmp_path: Path, line: str, parts: tuple[str, ...]
):
    file = exemplar_file(tmp_path)
    file.write_text(file.read_text() + line + "\n")
    path = tmp_path / "bad.store"
    done = cli("index", "build", file, "--store", path, "--encoder", "fake")
    assert_refused(done, "exemplars.jsonl", *parts)
    assert not path.exists()


def test_columns_and_labels_of_other_names(cli: Cli, tmp_path: Path):
    file = tmp_path / "toxic.csv"
    file.write_text("query,toxic,by\nhow do i hurt him,1,a\nhow do i hug him,0,\n")
    path = tmp_path / "toxic.store"
    names = ("--column", "text=query", "--column", "label=toxic", "--column", "source=by")
    labels = ("--unsafe-label", "1", "--safe-label", "0")
    done = cli("index", "build", file, "--store", path, "--encoder", "fake", *names, *labels)
    assert done.code == 0, done.err
    found = {str(one["text"]): one for one in listed(cli, path)}
    assert found["how do i hurt him"]["label"] == "unsafe"
    assert found["how do i hurt him"]["source"] == "a"
    assert found["how do i hug him"]["source"] == "toxic.csv"
    build = ("index", "build", file, "--store", tmp_path / "other.store", "--encoder", "fake")
    assert_refused(cli(*build, *names, "--unsafe-label", "1"), "not only one")
    assert_refused(cli(*build, *names, "--unsafe-label", "2", "--safe-label", "0"), "row 2", "'1'")
    assert_refused(cli(*build, "--column", "text=ask"), "'ask'", "query")
    assert_refused(cli(*build, "--column", "txt=query"), "'txt'", "text")
    assert_refused(cli(*build, "--column", "query"), "FIELD=NAME")


def test_add_counts_at_the_next_check_and_again_changes_nothing(cli: Cli, store: Path):
    prompt = "how do i tickle the mayor"
    before = json.loads(cli("check", prompt, "--store", store, "--json").out)
    one = told(cli, "add", *NEW, "--category", "hate", "--note", "logs", "--store", store)
    assert (one["version"], one["changed"]) == (2, 1)
    again = told(cli, "add", *NEW, "--category", "hate", "--store", store)
    assert (again["version"], again["changed"]) == (2, 0)
    after = json.loads(cli("check", prompt, "--store", store, "--json").out)
    assert after["score"] > before["score"]
    assert after["evidence"]["unsafe"][0]["text"] == prompt
    assert history(store)[-1].note == "logs"
    (found,) = listed(cli, store, "--category", "hate")
    assert found["category"] == "Toxic language (hate speech)"


def test_add_needs_a_file_or_a_text_with_a_label(cli: Cli, store: Path, tmp_path: Path):
    add = ("index", "add", "--store", store)
    assert_refused(cli(*add), "file of exemplars", "--text")
    assert_refused(cli(*add, exemplar_file(tmp_path), *NEW), "not both")
    assert_refused(cli(*add, *NEW[:2]), "--label")
    assert_refused(cli(*add, exemplar_file(tmp_path), "--category", "hate"), "columns")
    assert_refused(cli(*add, "--text", " ", "--label", "safe"), "blank")


def test_mute_remove_and_revert(cli: Cli, store: Path):
    told(cli, "add", *NEW, "--id", "mayor", "--store", store)

    def nearest() -> str:
        verdict = json.loads(cli("check", NEW[1], "--store", store, "--json").out)
        return str(verdict["evidence"]["unsafe"][0]["id"])

    assert nearest() == "mayor"
    assert told(cli, "mute", "mayor", "--store", store)["n_muted"] == 1
    assert nearest() != "mayor"
    assert told(cli, "mute", "mayor", "--unmute", "--store", store)["n_muted"] == 0
    assert nearest() == "mayor"
    assert told(cli, "remove", "mayor", "--store", store)["n_unsafe"] == 31
    assert nearest() != "mayor"
    assert told(cli, "revert", "2", "--store", store)["version"] == 6
    assert nearest() == "mayor"
    assert [one.kind for one in history(store)] == [
        "add", "add", "mute", "unmute", "remove", "revert",
    ]  # fmt: skip
    assert_refused(cli("index", "remove", "nobody", "--store", store), "nobody")
    assert_refused(cli("index", "mute", "nobody", "--store", store), "nobody")
    assert_refused(cli("index", "revert", "17", "--store", store), "17", "0 to 6")
    assert len(history(store)) == 6


def test_what_people_see(cli: Cli, store: Path, tmp_path: Path):
    cli("index", "add", *NEW, "--id", "mayor", "--note", "seen in the logs", "--store", store)
    cli("index", "mute", "mayor", "--store", store)
    assert "unsafe, muted" in cli("index", "list", "--store", store, "--limit", "100").out
    short = cli("index", "list", "--store", store, "--limit", "2", "--label", "safe")
    assert "2 of 37" in short.err
    assert "seen in the logs" in cli("index", "history", "--store", store).out
    assert "added: 1" in cli("index", "diff", "1", "2", "--store", store).out
    assert "changed: 1" in cli("index", "diff", "2", "--store", store).out
    assert "removed: 1" in cli("index", "diff", "2", "1", "--store", store).out
    assert "no difference" in cli("index", "diff", "1", "1", "--store", store).out
    stats = cli("index", "stats", "--store", store).out
    assert "illegal activities" in stats
    assert "fake" in stats
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    stats = " ".join(cli("index", "stats", "--store", store).out.split())
    assert "at most 10 % of benign prompts" in stats
    fields = told(cli, "stats", "--store", store)
    assert (fields["n_unsafe"], fields["n_muted"], fields["encoder"]) == (32, 1, "fake")
    assert fields["calibration"]["max_fpr"] == 0.1  # type: ignore[index]
    changed = told(cli, "diff", "2", "3", "--store", store)["changed"]
    assert changed[0][1]["muted"]  # type: ignore[index]
    assert json.loads(cli("index", "history", "--store", store, "--json").out)[1]["n"] == 1


def test_a_list_as_json_builds_the_same_index(cli: Cli, store: Path, tmp_path: Path):
    cli("index", "mute", str(listed(cli, store)[0]["id"]), "--store", store)
    file = tmp_path / "exported.jsonl"
    file.write_text(cli("index", "list", "--store", store, "--json").out)
    copy = tmp_path / "copy.store"
    assert cli("index", "build", file, "--store", copy, "--encoder", "fake").code == 0
    assert listed(cli, copy) == listed(cli, store)


def test_texts_of_a_file_cannot_steer_the_terminal(cli: Cli, store: Path):
    cli("index", "add", "--text", "a\x1b[2Jb", "--label", "safe", "--id", "x", "--store", store)
    out = cli("index", "list", "--store", store, "--limit", "100").out
    assert "\x1b" not in out
    assert "a␛[2Jb" in out


def test_reembed_keeps_promise_and_versions(
    cli: Cli, store: Path, tmp_path: Path, second_encoder: Path
):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1", "--scorer", "margin")
    refused = cli("check", UNSAFE, "--store", store, "--encoder", second_encoder)
    assert_refused(refused, "'fake'", "index reembed")
    done = cli("index", "reembed", "--store", store, "--encoder", second_encoder, "--data", data)
    assert done.code == 0, done.err
    lines = done.out.replace("┃", "│").splitlines()
    table = [[one.strip() for one in line.split("│")[1:4]] for line in lines if "│" in line]
    assert table[0] == ["", "before", "after"]
    told_rows = {title: cells for title, *cells in table}
    for title in ("average similarity", "block above", "review above", "AUROC *", "taken from"):
        before, after = told_rows[title]
        assert before not in ("", "-")
        assert after not in ("", "-")
    assert told_rows["encoder"] == ["fake", "tiny-bert"]
    assert "on the 25 unsafe and 25 safe prompts by which `after`" in " ".join(done.out.split())
    assert history(store)[-1].kind == "reembed"
    stats = told(cli, "stats", "--store", store)
    assert stats["calibration"]["max_fpr"] == 0.1  # type: ignore[index]
    assert stats["calibration"]["scorer"]["name"] == "margin"  # type: ignore[index]
    assert cli("check", UNSAFE, "--store", store).code == 0
    assert_refused(cli("check", UNSAFE, "--store", store, "--encoder", "fake"), "tiny-bert")


def test_reembed_as_json_and_with_the_same_encoder(cli: Cli, store: Path, tmp_path: Path):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    done = cli("index", "reembed", "--store", store, "--encoder", "fake", "--data", data, "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert fields["before"]["calibration"]["index_version"] == 1
    assert fields["after"]["calibration"]["index_version"] == 2
    measured = [fields[side]["on_calibration_prompts"] for side in ("before", "after")]
    assert measured[0] == measured[1]
    assert measured[0]["auroc"]["value"] > 0.7
    assert measured[0]["false_positive_rate"]["value"] <= 0.1
    assert json.loads(cli("check", UNSAFE, "--store", store, "--json").out)["notes"] == []


def test_reembed_measures_before_only_where_the_encoder_is_here(
    cli: Cli, store: Path, tmp_path: Path, second_encoder: Path
):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1", "--scorer", "margin")
    with closing(SqliteStore.open(store)) as opened:
        opened.set_documents({"cli/encoder": "openai:some-model"})
    done = cli(
        "index", "reembed", "--store", store, "--encoder", second_encoder, "--data", data, "--json"
    )
    assert done.code == 0, done.err
    assert "`before` is not measured: its encoder is not on this machine" in done.err
    fields = json.loads(done.out)
    assert fields["before"]["on_calibration_prompts"] is None
    assert fields["after"]["on_calibration_prompts"]["n_safe"] == 25


def test_a_drift_is_told_with_a_command_that_mends_it(
    cli: Cli, tmp_path: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "my index.store"
    build = ("index", "build", exemplar_file(tmp_path), "--store", path)
    assert cli(*build, "--encoder", second_encoder).code == 0
    encode = OnnxEncoder.encode

    def moved(self: OnnxEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = encode(self, texts)
        vectors[:, 0] += 0.1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(OnnxEncoder, "encode", moved)
    command = f"safe-embed index reembed --store '{path}' --encoder {second_encoder}"
    for verb in (("check", UNSAFE), ("index", "add", *NEW)):  # the second has a cache
        assert_refused(cli(*verb, "--store", path), "no longer embeds", f"`{command}`")
    done = cli(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    assert cli("check", UNSAFE, "--store", path).code == 0


def test_an_index_of_core_is_calibrated_by_it_again(
    cli: Cli, store: Path, tmp_path: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    held_out = world("what is a way to {verb} my {who}")
    split = DefaultSplit(exemplars=(), calibration=tuple(held_out))
    monkeypatch.setattr(default, "split_core", lambda *_, **__: split)
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1", "--scorer", "margin")
    done = cli("index", "reembed", "--store", store, "--encoder", second_encoder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["after"]["calibration"]["max_fpr"] == 0.1


def test_a_build_keeps_its_note(cli: Cli, tmp_path: Path):
    path = tmp_path / "noted.store"
    build = ("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    assert cli(*build, "--note", "from the audit").code == 0
    assert [one.note for one in history(path)] == ["from the audit"]


def test_reembed_without_data_drops_the_thresholds_and_says_so(
    cli: Cli, store: Path, tmp_path: Path, second_encoder: Path
):
    cli("calibrate", "--data", calibration_file(tmp_path), "--store", store, "--max-fpr", "0.1")
    done = cli("index", "reembed", "--store", store, "--encoder", second_encoder, "--json")
    assert done.code == 0, done.err
    assert "were dropped" in done.err
    fields = json.loads(done.out)
    assert fields["before"]["calibration"]["max_fpr"] == 0.1
    assert fields["after"]["calibration"] is None
    assert fields["after"]["on_calibration_prompts"] is None
    assert fields["before"]["average_similarity"] != fields["after"]["average_similarity"]


def test_reembed_refuses_data_that_cannot_keep_the_promise(
    cli: Cli, store: Path, tmp_path: Path, second_encoder: Path
):
    done = cli(
        "index", "reembed", "--store", store, "--encoder", second_encoder,
        "--data", calibration_file(tmp_path),
    )  # fmt: skip
    assert_refused(done, "99 benign", "has 25")
    assert history(store)[-1].kind == "add"


def test_files_that_are_no_index(cli: Cli, tmp_path: Path):
    assert_refused(cli("index", "stats", "--store", tmp_path / "none.store"), "no store")
    other = exemplar_file(tmp_path)
    assert_refused(cli("index", "list", "--store", other), "exemplars.jsonl")
    build = cli("index", "build", other, "--store", other, "--encoder", "fake")
    assert_refused(build, "exemplars.jsonl")
