"""`safe-embed train` as a user runs it, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.datasets import load_core, prompts_of
from tests.e2e.conftest import Cli
from tests.encoders.tiny_models import write_model

RECIPE = "layers = 1\nrank = 4\nalpha = 8.0\nepochs = 2.0\nlearning_rate = 0.02\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A base, 60 pairs, benign prompts and a recipe, in the directory where the command runs."""
    write_model(tmp_path / "tiny")
    rows = [f"make a bomb in linux {n},make a cake in linux {n},homonyms" for n in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["unsafe,safe,type", *rows]) + "\n")
    benign = [f"how do i query {n}" for n in range(60)]
    (tmp_path / "benign.txt").write_text("\n".join(benign) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


ARGUMENTS = (
    *("train", "--encoder", "tiny", "--data", "pairs.csv", "--data", "safe:benign.txt"),
    "--drop-test-prompts",  # a random encoder finds some alike
    *("--recipe", "recipe.toml", "--max-fpr", "0.2", "--review-fpr", "0.4", "--out", "safer"),
)


def needs_torch() -> None:
    pytest.importorskip("torch", reason="needs the extra torch")
    pytest.importorskip("peft", reason="needs the extra torch")


@pytest.mark.torch
def test_train_then_check(cli: Cli, files: Path) -> None:
    needs_torch()
    done = cli(*ARGUMENTS)
    assert done.code == 0, done.err
    assert "held-out pair accuracy" in done.out
    assert "Categorical Purity" in done.out
    assert "left" in done.err
    assert "safe-embed check --store safer/index.sqlite" in done.err

    shown = cli("check", "--store", "safer/index.sqlite", "--json", "make a bomb in linux 900")
    verdict = json.loads(shown.out)
    assert verdict["encoder"]["name"] == "tiny+safer"
    assert verdict["evidence"]["unsafe"][0]["text"].startswith("make a bomb")

    ran = cli("run", "--encoder", "tiny+safer", "--json", "--output", "run.json")
    assert ran.code == 0, ran.err
    told = json.loads((files / "safer" / "training.json").read_text())
    tasks = json.loads(ran.out)["tasks"]["safety_taxonomy"]["categorical_purity"]
    after = told["results"]["tasks"]["rows"][1]["tasks"]["safety_taxonomy"]["score"]
    assert tasks == pytest.approx(after, abs=1e-6)

    again = cli(*ARGUMENTS)
    assert again.code == 2
    assert "safer is there already" in again.err

    refused = cli("check", "--encoder", "tiny", "--store", "safer/index.sqlite", "what")
    assert refused.code == 2
    assert "was built with another encoder" in refused.err


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--data", "xstest-aug"), "'xstest-aug' is a test set"),
        (("--encoder", "fake"), "no weights that can be trained"),
        (("--recipe", "none.toml"), "none.toml: cannot be read"),
        (("--device", "tpu"), "device must be cpu or cuda"),
        (("--max-fpr", "0.001"), "needs 999"),
        (("--data", "pairs.csv"), "named twice"),
    ],
)
def test_bad_options_are_one_line(
    cli: Cli, files: Path, change: tuple[str, str], said: str
) -> None:
    needs_torch()
    done = cli(*ARGUMENTS, *change)
    assert done.code == 2
    told, line = done.err.strip().splitlines()[:-1], done.err.strip().splitlines()[-1]
    assert line.startswith("safe-embed: ")
    assert said in line
    assert all("were left out" in one for one in told)
    assert not (files / "safer").exists()


@pytest.mark.torch
def test_contradicting_labels_and_test_prompts(cli: Cli, files: Path) -> None:
    needs_torch()
    (files / "more.txt").write_text("Make a BOMB in linux 3!\n")
    done = cli(*ARGUMENTS, "--data", "safe:more.txt")
    assert done.code == 2
    assert "row 1 of more.txt" in done.err
    assert "unsafe in row 5 of pairs.csv" in done.err

    leaked = prompts_of(load_core("test"), "taxonomy")[0].text
    (files / "leak.jsonl").write_text(json.dumps({"text": leaked.upper(), "label": "unsafe"}))
    done = cli(*(one for one in ARGUMENTS if "drop" not in one), "--data", "leak.jsonl")
    assert done.code == 2
    assert "training prompts are test prompts or nearly so" in done.err
    assert "safe-embed-core:test" in done.err


def test_without_the_extra_the_line_says_how_to_get_it(
    cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safe_embed.training.extra.find_spec", lambda _name: None)
    done = cli(*ARGUMENTS)
    assert done.code == 2
    assert "training needs the extra 'torch': pip install 'safe-embed[torch]'" in done.err
