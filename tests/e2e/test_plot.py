"""`safe-embed plot`."""

import json
from pathlib import Path

import pytest

from safe_embed.benchmark import Evaluation, load_items, load_run
from tests.e2e.conftest import Cli, assert_refused

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

MAGIC = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    from safe_embed.cli.app import app

    path = tmp_path_factory.mktemp("runs") / "fake.json"
    assert (
        CliRunner().invoke(app, ["run", "--encoder", "fake", "--output", str(path)]).exit_code == 0
    )
    return path


@pytest.mark.parametrize("kind", ["heatmap", "purity", "bars", "boundary", "confusion", "map"])
def test_every_figure_in_svg(cli: Cli, run_file: Path, tmp_path: Path, kind: str):
    if kind == "map":
        pytest.importorskip("sklearn", reason="needs the extra report")
    done = cli("plot", run_file, "--kind", kind, "--out", tmp_path / "figure.svg")
    assert done.code == 0, done.err
    text = (tmp_path / "figure.svg").read_text()
    assert "disinformation campaigns" in text or "figurative language" in text or "chance" in text


@pytest.mark.parametrize("suffix", sorted(MAGIC))
def test_formats(cli: Cli, run_file: Path, tmp_path: Path, suffix: str):
    out = tmp_path / f"figure.{suffix}"
    assert cli("plot", run_file, run_file, "--out", out).code == 0
    assert out.read_bytes().startswith(MAGIC[suffix])


def test_the_numbers_are_those_of_the_run(run_file: Path):
    from safe_embed.reports.figures import (
        average_purity_bars,
        category_confusion,
        challenging_heatmap,
        purity_heatmap,
    )

    one = Evaluation(run=load_run(run_file), items=load_items(run_file))

    def values(chart: object) -> list[dict[str, object]]:
        spec = json.loads(chart.to_json())  # type: ignore[attr-defined]
        data = spec.get("data") or spec["layer"][0]["data"]
        rows: list[dict[str, object]] = (
            data["values"] if "values" in data else spec["datasets"][data["name"]]
        )
        return rows

    tasks = one.run.tasks
    assert tasks.safety_challenging is not None
    assert tasks.safety_taxonomy is not None
    assert [row["value"] for row in values(challenging_heatmap([one]))] == [
        round(of.normalized_similarity, 4) for of in tasks.safety_challenging.by_type.values()
    ]
    assert [row["value"] for row in values(purity_heatmap([one]))] == [
        round(of.categorical_purity, 4) for of in tasks.safety_taxonomy.by_category.values()
    ]
    (bar,) = values(average_purity_bars([one]))
    assert bar["value"] == round(tasks.safety_taxonomy.categorical_purity, 4)
    by_group: dict[object, float] = {}
    for row in values(category_confusion(one)):
        by_group[row["group"]] = by_group.get(row["group"], 0) + float(str(row["value"]))
    assert all(total == pytest.approx(1, abs=0.01) for total in by_group.values())


def test_what_cannot_be_drawn(cli: Cli, run_file: Path, tmp_path: Path):
    out = tmp_path / "figure.svg"
    assert_refused(cli("plot", run_file, "--out", tmp_path / "x.gif"), ".png, .svg, .pdf")
    assert_refused(cli("plot", run_file, run_file, "--kind", "map", "--out", out), "is of one run")
    other = json.loads(run_file.read_text())
    other["encoder"]["fingerprint"] = "0" * 64
    changed = tmp_path / "other.json"
    changed.write_text(json.dumps(other))
    items = run_file.with_suffix(".items.parquet")
    changed.with_suffix(".items.parquet").write_bytes(items.read_bytes())
    refused = cli("plot", changed, "--kind", "map", "--out", out)
    assert_refused(refused, "is not the encoder of the run", "--encoder")
    assert not out.exists()
