"""`safe-embed report` and `safe-embed leaderboard`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.files import sha256_of
from safe_embed.reports import projection
from tests.e2e.conftest import Cli, assert_refused

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")
pytest.importorskip("jinja2", reason="needs the extra report")


@pytest.fixture
def runs(cli: Cli, tmp_path: Path, second_encoder: Path) -> list[Path]:
    for name, path in (("fake", "a.json"), (second_encoder, "b.json")):
        assert cli("run", "--encoder", name, "--output", tmp_path / "runs" / path).code == 0
    return [tmp_path / "runs" / "a.json", tmp_path / "runs" / "b.json"]


@pytest.fixture
def quick_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points anywhere: what t-SNE does is tested where it is called."""

    def project(embeddings: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float64]:
        return np.random.default_rng(seed).uniform(-1, 1, size=(len(embeddings), 2))

    monkeypatch.setattr(projection, "project", project)


def test_report_is_one_file_with_its_provenance(cli: Cli, runs: list[Path], tmp_path: Path):
    done = cli("report", *runs, "--out", "r.html", "--no-map")
    assert done.code == 0, done.err
    assert done.out == ""
    assert "saved r.html" in done.err
    text = (tmp_path / "r.html").read_text("utf-8")
    for path in runs:
        run = json.loads(path.read_text())
        assert sha256_of(path) in text
        assert run["encoder"]["fingerprint"] in text
        assert all(digest in text for digest in run["suite"]["digests"].values())
    assert f"safe-embed report {runs[0]} {runs[1]} --out r.html --no-map" in text
    assert len(text.encode()) < 2_000_000


def test_five_encoders_on_the_papers_data_fit_5_mb(
    cli: Cli, tmp_path: Path, paper_data: Path, quick_projection: None
):
    options = ("--suite", "paper", "--data-dir", paper_data, "--encoder", "fake")
    path = tmp_path / "a.json"
    assert cli("run", *options, "--average-similarity", "0.3", "--output", path).code == 0
    assert cli("report", *[path] * 5, "--out", "r.html").code == 0
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "figure-map-4" in text
    assert len(text.encode()) < 5_000_000


def test_a_map_that_cannot_be_made_is_left_out_with_a_note(
    cli: Cli, runs: list[Path], tmp_path: Path, second_encoder: Path, quick_projection: None
):
    moved = second_encoder.rename(tmp_path / "moved")
    done = cli("report", *runs)
    assert done.code == 0, done.err
    assert "no map of tiny-bert: " in done.err
    text = (tmp_path / "report.html").read_text("utf-8")
    assert 'id="figure-map-0"' in text
    assert 'id="figure-map-1"' not in text
    done = cli("report", runs[1], "--encoder", f"tiny-bert={moved}")
    assert "no map" not in done.err
    assert 'id="figure-map-0"' in (tmp_path / "report.html").read_text("utf-8")


def test_what_cannot_be_reported_is_refused(cli: Cli, runs: list[Path], tmp_path: Path):
    assert_refused(cli("report", tmp_path / "none.json"), "none.json", "cannot read it")
    assert_refused(cli("report", runs[0], "--encoder", "tiny-bert"), "NAME=PLACE")
    other = json.loads(runs[1].read_text())
    other["suite"]["digests"] = {"safe-embed-core": "0" * 64}
    runs[1].write_text(json.dumps(other))
    assert_refused(cli("report", *runs, "--no-map"), "on different data")
    assert not (tmp_path / "report.html").exists()


def test_the_missing_extra_is_named(cli: Cli, runs: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "altair", None)
    assert_refused(cli("report", *runs, "--no-map"), "pip install 'safe-embed[report]'")


def test_leaderboard_has_a_row_and_a_page_for_each_encoder(
    cli: Cli, runs: list[Path], tmp_path: Path
):
    (tmp_path / "runs" / "notes.json").write_text("{}")
    deeper = tmp_path / "runs" / "other"
    assert cli("run", "--encoder", "fake", "--k", "3", "--output", deeper / "k.json").code == 0
    done = cli("leaderboard", "runs", "--out", "site", "--no-map")
    assert done.code == 0, done.err
    assert "3 reports" in done.err
    index = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert index.count("<h2 ") == 2  # k = 10 and k = 3 are not compared
    pages = sorted(path.name for path in (tmp_path / "site").glob("*.html"))
    assert len(pages) == 4
    for page in pages:
        if page != "index.html":
            assert f'href="{page}"' in index
            assert 'href="index.html"' in (tmp_path / "site" / page).read_text("utf-8")
    scores = json.loads(runs[0].read_text())["tasks"]["safety_contrast"]
    assert f"<strong>{scores['boundary_similarity']:.3f}</strong>" in index


def test_leaderboard_keeps_the_newest_run_of_an_encoder(cli: Cli, runs: list[Path], tmp_path: Path):
    assert cli("run", "--encoder", "fake", "--output", tmp_path / "runs" / "c.json").code == 0
    os.utime(runs[0], (1, 1))
    done = cli("leaderboard", "runs", "--no-map")
    assert f"left out {Path('runs', 'a.json')}" in done.err
    assert "2 reports" in done.err


def test_leaderboard_without_runs_is_refused(cli: Cli, tmp_path: Path):
    assert_refused(cli("leaderboard", tmp_path / "none"), "is no folder")
    assert_refused(cli("leaderboard", tmp_path), "holds no run file", "safe-embed run --output")
