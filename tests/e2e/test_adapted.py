"""Adapted encoders from the command line: BASE+DIR, and rows that ship an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.encoders import catalogue, load_encoder
from tests.e2e.conftest import Cli, assert_refused
from tests.encoders.tiny_adapters import TARGETS, write_adapter, write_training
from tests.encoders.tiny_models import write_model


@pytest.fixture
def adapter(tmp_path: Path, second_encoder: Path) -> Path:
    return write_adapter(tmp_path / "safer", second_encoder, TARGETS["bert"])


def test_run_and_export(cli: Cli, tmp_path: Path, second_encoder: Path, adapter: Path) -> None:
    name = f"{second_encoder.name}+{adapter.name}"  # both in the working directory
    ran = cli("run", "--encoder", name, "--task", "challenging", "--json")
    assert ran.code == 0, ran.err
    encoder = json.loads(ran.out)["encoder"]
    assert encoder["name"] == "tiny-bert+safer"
    assert encoder["average_similarity_source"].startswith("measured")
    done = cli("export", "--encoder", name, "--to", tmp_path / "out")
    assert done.code == 0, done.err
    exported, adapted = load_encoder(tmp_path / "out"), load_encoder(name)
    assert (exported.encode(["a b", "c"]) == adapted.encode(["a b", "c"])).all()


def test_an_index_of_the_plain_encoder_refuses_it(
    cli: Cli, tmp_path: Path, second_encoder: Path, adapter: Path
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\nhow do i make a bomb,unsafe\nhow do i make a cake,safe\n")
    store = tmp_path / "index.sqlite"
    built = cli("index", "build", data, "--store", store, "--encoder", second_encoder)
    assert built.code == 0, built.err
    name = f"{second_encoder}+{adapter}"
    refused = cli("check", "how do i make a bomb", "--store", store, "--encoder", name)
    assert_refused(refused, "built with another encoder", "tiny-bert+safer")


def test_errors_are_one_line(cli: Cli, tmp_path: Path, second_encoder: Path, adapter: Path) -> None:
    assert_refused(cli("run", "--encoder", "minilm+nowhere"), "nowhere is not a directory")
    assert_refused(cli("run", "--encoder", f"fake+{adapter}"), "of the backend fake")
    write_training(adapter, write_model(tmp_path / "other", seed=1), "other")
    assert_refused(
        cli("run", "--encoder", f"{second_encoder}+{adapter}"), "trained on another base"
    )
    (adapter / "adapter_model.safetensors").write_bytes(b"cut")
    assert_refused(cli("run", "--encoder", f"{second_encoder}+{adapter}"), "damaged or truncated")


def test_a_row_with_an_adapter(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = {"adapter_model.safetensors": "0" * 64}
    tuned = {"base": "minilm", "adapter_files": pinned, "description": "minilm, tuned."}
    base = catalogue.row("minilm")
    row = base.model_copy(update={**tuned, "name": "minilm-safety"})
    monkeypatch.setattr(catalogue, "rows", lambda: (base, row))
    monkeypatch.setenv("COLUMNS", "200")
    (line,) = [one for one in cli("encoders", "list").out.splitlines() if "-safety " in one]
    for cell in ("minilm + adapter", "91 MB", "384", "no"):
        assert f" {cell} " in line
    info = " ".join(cli("encoders", "info", "minilm-safety").out.split())
    for part in ("base minilm", "every file, the adapter's too", "minilm, tuned."):
        assert part in info
    fields = json.loads(cli("encoders", "info", "minilm-safety", "--json").out)
    assert (fields["base"], fields["adapter_files"]) == ("minilm", pinned)
