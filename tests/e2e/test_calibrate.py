"""`safe-embed calibrate`: thresholds that keep a promise, or an error that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.detection import Detector
from tests.e2e.conftest import Cli, assert_refused
from tests.e2e.detector_data import UNSAFE, benign_file, calibration_file, exemplar_file


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "mine.store"
    cli("index", "build", exemplar_file(tmp_path), "--store", path, "--encoder", "fake")
    return path


def calibration(cli: Cli, store: Path) -> dict[str, object] | None:
    fields = json.loads(cli("index", "stats", "--store", store, "--json").out)
    found: dict[str, object] | None = fields["calibration"]
    return found


def test_thresholds_reach_the_verdict(cli: Cli, store: Path, tmp_path: Path):
    done = cli(
        "calibrate", "--data", calibration_file(tmp_path), "--store", store,
        "--max-fpr", "0.1", "--review-fpr", "0.3", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert (fields["n_unsafe"], fields["n_benign"], fields["n_exemplars"]) == (25, 25, 0)
    assert (fields["max_fpr"], fields["review_fpr"], fields["method"]) == (0.1, 0.3, "platt")
    verdict = json.loads(cli("check", UNSAFE, "--store", store, "--json").out)
    assert verdict["threshold"] == pytest.approx(fields["threshold"])
    assert verdict["review_threshold"] == pytest.approx(fields["review_threshold"])
    assert verdict["calibrated"]
    assert "at most 10 % are" in " ".join(cli("check", UNSAFE, "--store", store).out.split())


def test_people_see_before_and_now(cli: Cli, store: Path, tmp_path: Path):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    done = cli(
        "calibrate", "--data", data, "--store", store, "--max-fpr", "0.2", "--method", "isotonic",
        "--per-category",
    )  # fmt: skip
    lines = [line for line in done.out.splitlines() if "benign blocked, at most" in line]
    assert "10 %" in lines[0]
    assert "20 %" in lines[0]
    assert "isotonic" in done.out
    assert "block above, illegal activities" in done.out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--max-fpr", "0.01"), ("99 benign", "got 25")),
        (("--max-fpr", "0"), ("above 0",)),
        (("--max-fpr", "0.2", "--review-fpr", "0.1"), ("review_fpr",)),
        (("--max-fpr", "0.1", "--scorer", "combnd"), ("combnd", "did you mean combined")),
    ],
)
def test_what_is_refused_leaves_the_earlier_calibration(
    cli: Cli, store: Path, tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    before = calibration(cli, store)
    assert before is not None
    done = cli("calibrate", "--data", data, "--store", store, *arguments)
    assert_refused(done, *parts)
    assert calibration(cli, store) == before


def test_an_interrupt_leaves_the_earlier_calibration(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = calibration_file(tmp_path)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    before = calibration(cli, store)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "calibrate", interrupted)
    done = cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.2")
    assert done.code == 130
    assert "stays" in done.err
    assert calibration(cli, store) == before


def test_another_scorer_is_kept(cli: Cli, store: Path, tmp_path: Path):
    data = calibration_file(tmp_path)
    calibrate = ("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    for scorer in ("margin", "head"):
        assert cli(*calibrate, "--scorer", scorer).code == 0
        found = calibration(cli, store)
        assert found is not None
        assert found["scorer"]["name"] == scorer  # type: ignore[index]
        assert cli("check", UNSAFE, "--store", store).code == 0
    assert cli(*calibrate).code == 0
    found = calibration(cli, store)
    assert found is not None
    assert found["scorer"]["name"] == "head"  # type: ignore[index]


def test_the_head_knows_what_was_added(cli: Cli, store: Path, tmp_path: Path):
    data = calibration_file(tmp_path)
    cli("index", "add", "--text", "how do i tickle him", "--label", "unsafe", "--store", store)
    notes = json.loads(cli("check", "tickle him", "--store", store, "--json").out)["notes"]
    assert any("head fitted at index version 1" in note for note in notes)
    cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    assert json.loads(cli("check", "tickle him", "--store", store, "--json").out)["notes"] == []


def test_benign_prompts_alone_give_thresholds_and_a_note(cli: Cli, store: Path, tmp_path: Path):
    data = benign_file(tmp_path)
    done = cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    assert done.code == 0, done.err
    assert "none: no unsafe prompts" in done.out
    verdict = json.loads(cli("check", UNSAFE, "--store", store, "--json").out)
    assert not verdict["calibrated"]


def test_exemplars_as_data_are_told(cli: Cli, store: Path, tmp_path: Path):
    data = exemplar_file(tmp_path)
    done = cli("calibrate", "--data", data, "--store", store, "--max-fpr", "0.1")
    assert done.code == 0, done.err
    assert "68 of the prompts are exemplars" in done.err


def test_data_is_needed_and_must_have_labels(cli: Cli, store: Path, tmp_path: Path):
    assert_refused(cli("calibrate", "--store", store), "--data")
    file = tmp_path / "plain.jsonl"
    file.write_text('{"text": "how do i sing"}\n')
    assert_refused(cli("calibrate", "--store", store, "--data", file), "plain.jsonl", "label")
    missing = tmp_path / "none.csv"
    assert_refused(cli("calibrate", "--store", store, "--data", missing), "none.csv", "not exist")
