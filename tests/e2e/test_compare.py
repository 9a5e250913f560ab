"""`safe-embed compare`."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, assert_refused


@pytest.fixture
def runs(cli: Cli, tmp_path: Path, second_encoder: Path) -> list[Path]:
    for name, path in (("fake", "a.json"), (second_encoder, "b.json")):
        assert cli("run", "--encoder", name, "--output", tmp_path / path).code == 0
    return [tmp_path / "a.json", tmp_path / "b.json"]


def test_differences_are_those_of_the_run_files(cli: Cli, runs: list[Path]):
    done = cli("compare", *runs, "--json")
    assert done.code == 0, done.err
    first, second = json.loads(done.out)["rows"]
    a, b = (json.loads(path.read_text())["tasks"] for path in runs)
    for task, key in (
        ("safety_challenging", "normalized_similarity"),
        ("safety_contrast", "boundary_similarity"),
        ("safety_taxonomy", "categorical_purity"),
    ):
        assert first["tasks"][task]["score"] == a[task][key]
        assert first["tasks"][task]["difference"] is None
        found = second["tasks"][task]
        assert found["difference"] == pytest.approx(b[task][key] - a[task][key], abs=1e-9)
        assert found["difference_ci95"][0] <= found["difference"] <= found["difference_ci95"][1]
        assert 0 < found["p_value"] <= 1
    assert cli("compare", *runs, "--json").out == done.out


def test_tables_hold_the_same(cli: Cli, runs: list[Path]):
    found = json.loads(cli("compare", *runs, "--json").out)["rows"]
    rows = list(csv.DictReader(io.StringIO(cli("compare", *runs, "--csv").out)))
    assert len(rows) == 6
    assert float(rows[0]["score"]) == found[0]["tasks"]["safety_challenging"]["score"]
    assert rows[0]["difference"] == ""
    assert float(rows[3]["p_value"]) == found[1]["tasks"]["safety_challenging"]["p_value"]
    markdown = cli("compare", *runs, "--markdown").out.splitlines()
    assert [line.count("|") for line in markdown] == [6] * 4
    score = found[1]["tasks"]["safety_taxonomy"]["score"]
    assert f"{score:.3f} [" in markdown[3]
    table = cli("compare", *runs).out
    assert "Holm" in table
    assert f"{score:.3f}" in table


def test_one_encoder_against_itself_does_not_differ(cli: Cli, runs: list[Path]):
    found = json.loads(cli("compare", runs[0], runs[0], "--json").out)["rows"][1]["tasks"]
    assert {(one["difference"], one["p_value"]) for one in found.values()} == {(0.0, 1.0)}


def test_other_data_and_settings_are_refused(cli: Cli, runs: list[Path], tmp_path: Path):
    assert cli("run", "--encoder", "fake", "--k", "3", "--output", tmp_path / "k.json").code == 0
    assert_refused(cli("compare", runs[0], tmp_path / "k.json"), "k 10 and 3", "same --k")
    other = json.loads(runs[1].read_text())
    part = next(iter(other["suite"]["digests"]))
    other["suite"]["digests"][part] = "0" * 64
    runs[1].write_text(json.dumps(other))
    assert_refused(cli("compare", *runs), f"on different data ({part})", "run both on the same")
    assert_refused(cli("compare", runs[0]), "two runs or more")
    assert_refused(
        cli("compare", runs[0], runs[0], "--with-paper"), "on 'bundled'", "--suite paper"
    )
    assert_refused(cli("compare", runs[0], runs[0], "--csv", "--json"), "exclude each other")
    assert_refused(cli("compare", runs[0], tmp_path / "none.json"), "none.json", "cannot read it")


def test_published_rows_stand_beside_ours_and_are_marked(
    cli: Cli, tmp_path: Path, paper_data: Path
):
    options = ("--suite", "paper", "--data-dir", paper_data, "--average-similarity", "0.3")
    for name in ("a.json", "b.json"):
        path = tmp_path / name
        assert cli("run", "--encoder", "fake", *options, "--output", path).code == 0
    both = (tmp_path / "a.json", tmp_path / "b.json")
    found = json.loads(cli("compare", *both, "--with-paper", "--json").out)["published"]
    assert len(found) == 11
    assert found[0]["encoder"] == "sbert-all"
    assert found[0]["safety_taxonomy"] == 0.712
    assert found[-1]["safety_contrast"] is None
    markdown = cli("compare", *both, "--with-paper", "--markdown").out
    assert markdown.count("(published)") == 11
