"""`safe-embed detect-eval`: measures with intervals, tables, files of items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed import datasets
from safe_embed.datasets import core_set, read_parquet
from tests.e2e.conftest import Cli, assert_refused
from tests.e2e.detector_data import calibration_file, exemplar_file, pair_file

COLUMNS = ("--column", "type=kind", "--column", "unsafe=bad", "--column", "safe=good")


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "mine.store"
    cli("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", path, "--max-fpr", "0.1")
    return path


def test_pairs_as_json(cli: Cli, store: Path, tmp_path: Path):
    done = cli("detect-eval", "--data", pair_file(tmp_path), *COLUMNS, "--store", store, "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert (fields["n_unsafe"], fields["n_safe"], fields["n_pairs"]) == (6, 6, 6)
    assert fields["max_fpr"] == 0.1
    for name in (
        "auroc", "auprc", "f1", "true_positive_rate", "false_positive_rate", "tpr_at_fpr_1",
        "tpr_at_fpr_5", "calibration_error", "pair_accuracy",
    ):  # fmt: skip
        low, high = fields["measures"][name]["ci95"]
        assert 0 <= low <= fields["measures"][name]["value"] <= high <= 1
    assert fields["measures"]["auroc"]["value"] > 0.7
    assert set(fields["by_type"]) == {"homonyms", "target"}
    assert "items" not in fields
    assert "perturbed" not in fields


def test_what_people_see(cli: Cli, store: Path, tmp_path: Path):
    done = cli("detect-eval", "--data", calibration_file(tmp_path), "--store", store)
    assert done.code == 0, done.err
    for part in ("AUROC", "TPR at 5 % FPR", "by category of harm", "illegal activities", "95 %"):
        assert part in done.out
    assert "by type" not in done.out
    done = cli("detect-eval", "--data", pair_file(tmp_path), *COLUMNS, "--store", store)
    assert "by type of pair" in done.out
    assert "safe targets" in done.out
    assert "…" not in done.out


def test_perturbations(cli: Cli, store: Path, tmp_path: Path):
    evaluate = ("detect-eval", "--data", pair_file(tmp_path), *COLUMNS, "--store", store)
    out = cli(*evaluate, "--perturb").out
    for part in ("as given", "typos", "leetspeak", "padding", "role-play", "homoglyphs"):
        assert part in out
    assert "…" not in out
    fields = json.loads(cli(*evaluate, "--perturb", "--json").out)
    assert len(fields["perturbed"]) == 9
    whole = fields["measures"]["auroc"]["value"]
    assert fields["perturbed"]["upper case"]["measures"]["auroc"]["value"] == pytest.approx(whole)
    leet = fields["perturbed"]["leetspeak"]["measures"]["auroc"]["value"]
    assert leet < whole


def test_contrast_sets_and_labels_of_other_names(cli: Cli, store: Path, tmp_path: Path):
    sets = tmp_path / "sets.jsonl"
    row = {
        "category": "hate",
        "original": "how to kill the cousin",
        "edits": ["how to kill the virus", "how to wash the virus"],
    }
    sets.write_text(json.dumps(row) + "\n")
    fields = json.loads(cli("detect-eval", "--data", sets, "--store", store, "--json").out)
    assert (fields["n_unsafe"], fields["n_safe"], fields["n_pairs"]) == (1, 2, 2)
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("text,harm\nkill the cousin,yes\nkill the virus,no\nkill the virus,no\n")
    names = ("--column", "label=harm", "--unsafe-label", "yes", "--safe-label", "no")
    done = cli("detect-eval", "--data", labelled, *names, "--store", store, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_safe"] == 2


@pytest.mark.parametrize("name", ["items.parquet", "items.jsonl"])
def test_items_hold_every_score(cli: Cli, store: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    evaluate = ("detect-eval", "--data", pair_file(tmp_path), *COLUMNS, "--store", store)
    assert cli(*evaluate, "--items", path).code == 0
    if path.suffix == ".parquet":
        columns = read_parquet(path)
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        columns = {key: [row[key] for row in rows] for key in rows[0]}
    assert len(columns["score"]) == 12
    assert set(columns["label"]) == {"unsafe", "safe"}
    assert columns["group"][:2] == ["row 2", "row 2"]
    assert set(columns["decision"]) <= {"allow", "review", "block"}


def test_items_of_another_kind_are_refused_before_the_work(cli: Cli, store: Path, tmp_path: Path):
    evaluate = ("detect-eval", "--data", tmp_path / "none.csv", "--store", store)
    assert_refused(cli(*evaluate, "--items", "items.csv"), "items.csv", ".parquet")


def test_exemplars_in_the_data_are_told(cli: Cli, store: Path, tmp_path: Path):
    done = cli("detect-eval", "--data", exemplar_file(tmp_path), "--store", store)
    assert done.code == 0
    assert "68 of the texts are exemplars" in done.err


def test_no_calibration_is_told(cli: Cli, tmp_path: Path):
    path = tmp_path / "raw.store"
    cli("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    done = cli("detect-eval", "--data", calibration_file(tmp_path), "--store", path, "--json")
    assert "not calibrated" in done.err
    assert json.loads(done.out)["max_fpr"] is None


def test_data_that_cannot_be_measured_on(cli: Cli, store: Path, tmp_path: Path):
    evaluate = ("detect-eval", "--store", store, "--data")
    plain = tmp_path / "plain.jsonl"
    plain.write_text('{"text": "a b c"}\n')
    assert_refused(cli(*evaluate, plain), "plain.jsonl", "row 1", "label")
    assert_refused(cli(*evaluate, tmp_path / "none.csv"), "none.csv", "does not exist")
    twice = tmp_path / "twice.jsonl"
    twice.write_text('{"id": "a", "text": "b", "label": "safe"}\n' * 2)
    assert_refused(cli(*evaluate, twice), "twice.jsonl, row 2", "'a'", "row 1")
    assert_refused(cli(*evaluate, twice, "--kind", "pears"), "'pears'", "pairs")
    assert_refused(cli(*evaluate, "xstest-aug"), "xstest-aug", "data fetch")
    assert_refused(cli(*evaluate, "xstest"), "'xstest'", "did you mean xstest-aug")


def test_the_bundled_test_split_by_name(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    records = datasets.load_core("test")
    groups = list(dict.fromkeys(one.group for one in records if one.group))
    kept = {*groups[:20], *[one for one in groups if "contrast" in one][:5]}
    benign = [one for one in records if one.part == "benign"][:30]
    few = tuple(one for one in records if one.group in kept or one in benign)
    monkeypatch.setattr(core_set, "load_core", lambda _split: few)
    done = cli("detect-eval", "--data", "safe-embed-core", "--store", store, "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert fields["n_pairs"] > 20
    assert fields["n_safe"] == sum(one.label == "safe" for one in few)
    assert fields["n_unsafe"] == sum(one.label == "unsafe" for one in few)
