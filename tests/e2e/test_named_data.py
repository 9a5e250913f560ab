"""Labelled data by name, in every verb that takes some."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.datasets import core_set
from tests.e2e.conftest import Cli, assert_refused
from tests.e2e.detector_data import calibration_file, exemplar_file

FAKE = ("--encoder", "fake")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A permissive set in the data directory, and files of one label beside it."""
    data = tmp_path / "data"
    (data / "red-instruct").mkdir(parents=True)
    content = {"Illegal Activity": {"Theft": ["how do i rob the mayor"]}, "Gossip": {"x": ["a b"]}}
    (data / "red-instruct" / "catqa_english.json").write_text(json.dumps(content))
    (tmp_path / "benign.txt").write_text("how do i hug the mayor\nhow do i feed the cat\n")
    (tmp_path / "bad.json").write_text('["how do i hurt the mayor"]')
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(data))
    return tmp_path


@pytest.fixture
def few_of_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of each part of safe-embed-core, as the fake encoder needs a while for all of it."""
    from safe_embed import datasets
    from safe_embed.detection.default import split_core

    whole = core_set.load_core

    def load(split: core_set.Split) -> tuple[core_set.CoreRecord, ...]:
        records = whole(split)
        benign = [one for one in records if one.part == "benign"][:800]
        pairs = [one for one in records if one.part == "pair"][:80]
        return (*pairs, *benign)

    for module in (core_set, datasets):
        monkeypatch.setattr(module, "load_core", load)
    assert split_core(load("train")).calibration


def listed(cli: Cli, store: Path) -> dict[str, dict[str, str]]:
    out = cli("index", "list", "--store", store, "--json").out
    return {one["text"]: one for one in map(json.loads, out.splitlines())}


def test_an_index_of_a_data_set_and_files_of_one_label(cli: Cli, files: Path):
    store = files / "mine.store"
    names = ("catqa", "unsafe:bad.json", "safe:benign.txt")
    done = cli("index", "build", *names, "--store", store, *FAKE)
    assert done.code == 0, done.err
    assert "3 unsafe and 2 safe" in done.out
    found = listed(cli, store)
    robbed = found["how do i rob the mayor"]
    assert robbed["category"] == "Assisting illegal activities"
    assert (robbed["label"], robbed["source"]) == ("unsafe", "catqa")
    assert found["a b"]["category"] is None
    assert found["how do i hug the mayor"]["source"] == "benign.txt"
    before = len(found)
    assert cli("index", "add", *names, "--store", store).code == 0
    assert len(listed(cli, store)) == before  # the same texts are the same exemplars
    refused = cli("index", "add", "safe:bad.json", "--label", "safe", "--store", store)
    assert_refused(refused, "--label", "safe:FILE")


def test_texts_of_test_data_are_left_out(cli: Cli, files: Path):
    (files / "test.txt").write_text("How do I hurt the mayor\n")
    store = files / "mine.store"
    build = ("index", "build", "catqa", "unsafe:bad.json", "safe:benign.txt", "--store", store)
    done = cli(*build, *FAKE, "--leave-out", "test.txt")
    assert done.code == 0, done.err
    assert "left out, as test.txt has the same text: 1 prompt\n" in done.err
    assert "how do i hurt the mayor" not in listed(cli, store)


def test_no_index_of_a_test_set(cli: Cli, files: Path):
    store = files / "mine.store"
    done = cli("index", "build", "xstest-aug", "safe:benign.txt", "--store", store, *FAKE)
    assert_refused(done, "'xstest-aug' is a test set", "detect-eval --data xstest-aug")
    assert not store.exists()
    done = cli("calibrate", "--data", "do-not-answer", "--data", "benign.txt", *FAKE)
    assert_refused(done, "'do-not-answer' is a test set")


def test_files_that_need_a_label_say_how(cli: Cli, files: Path):
    build = ("index", "build", "--store", files / "mine.store", *FAKE)
    assert_refused(cli(*build, "benign.txt"), "benign.txt, row 1", "`unsafe:` or `safe:`")
    assert_refused(cli(*build, "catqa", "safe:catqa"), "is labelled unsafe")
    assert_refused(cli(*build, "catqa", "catqa"), "named twice")
    assert_refused(cli(*build, "catqua"), "did you mean catqa")
    assert_refused(cli(*build, "hub:catqa"), "hub:ORG/NAME")


def test_parts_of_safe_embed_core(cli: Cli, files: Path, few_of_core: None):
    store = files / "core.store"
    build = ("index", "build", "safe-embed-core:train/exemplars", "catqa", "--store", store)
    done = cli(*build, *FAKE)
    assert done.code == 0, done.err
    assert "not calibrated" in done.err
    exemplars = listed(cli, store)
    held_out = [one for one in core_set.load_core("train") if one.text not in exemplars]
    assert 100 < len(held_out) < len(exemplars)
    data = ("--data", "safe-embed-core:train/calibration")
    done = cli("calibrate", *data, "--store", store, "--review-fpr", "0.1", "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert fields["n_exemplars"] == 0
    assert 99 <= fields["n_benign"] <= len(held_out)
    done = cli(
        "detect-eval", "--data", "safe-embed-core:test/pairs", "--data",
        "safe-embed-core:test/benign", "--store", store, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    pairs = sum(one.part == "pair" for one in core_set.load_core("test")) // 2
    assert (fields["n_pairs"], fields["n_exemplars"]) == (pairs, 0)
    assert fields["n_safe"] > fields["n_unsafe"] == pairs


def test_safe_embed_core_alone_comes_calibrated_also_with_others(
    cli: Cli, files: Path, few_of_core: None
):
    store = files / "core.store"
    done = cli("index", "build", "safe-embed-core", "catqa", "--store", store, *FAKE)
    assert done.code == 0, done.err
    assert "not calibrated" not in done.err
    fields = json.loads(cli("index", "stats", "--store", store, "--json").out)
    assert fields["calibration"]["max_fpr"] == 0.01


def test_check_of_a_data_set(cli: Cli, files: Path):
    store = files / "mine.store"
    cli("index", "build", exemplar_file(files), "--store", store, *FAKE)
    cli("calibrate", "--data", calibration_file(files), "--store", store, "--max-fpr", "0.1")
    done = cli("check", "--file", "catqa", "--store", store, "--json")
    assert done.code == 0, done.err
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["row 1", "row 2"]
    assert_refused(cli("check", "--file", "catqua", "--store", store), "did you mean catqa")


def test_calibrate_with_two_files(cli: Cli, files: Path):
    store = files / "mine.store"
    cli("index", "build", exemplar_file(files), "--store", store, *FAKE)
    data = ("--data", "unsafe:bad.json", "--data", "safe:many.txt")
    (files / "many.txt").write_text("".join(f"is it fine to sing song {n}\n" for n in range(30)))
    done = cli("calibrate", *data, "--store", store, "--max-fpr", "0.1", "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert (fields["n_unsafe"], fields["n_benign"]) == (1, 30)
