"""`safe-embed export`: the folder runs without this package, and is an encoder again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safe_embed.benchmark import load_suite
from safe_embed.encoders import load_encoder
from safe_embed.files import sha256_of
from tests.e2e.conftest import Cli, assert_refused
from tests.encoders.tiny_models import write_model, write_transformers_model

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "safe_embed", "transformers"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_export_is_an_encoder_again(cli: Cli, tmp_path: Path, model_type: str):
    directory = write_model(tmp_path / "tiny", model_type)
    done = cli("export", "--encoder", directory, "--to", tmp_path / "out")
    assert done.code == 0, done.err
    assert float(re.findall(r"lowest +([0-9.]+)", done.out)[0]) > 0.999999
    texts = sorted(set(load_suite("bundled").texts(["safety_challenging"])))
    again, original = (load_encoder(path).encode(texts) for path in (tmp_path / "out", directory))
    np.testing.assert_array_equal(again, original)  # the same graph in the same engine
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["fingerprint"] == load_encoder(directory).fingerprint
    for name, digest in facts["sha256"].items():
        assert sha256_of(tmp_path / "out" / name) == digest
    ran = cli("run", "--encoder", tmp_path / "out", "--task", "challenging", "--json")
    assert json.loads(ran.out)["encoder"]["name"] == "out"


def test_the_model_card_s_program_needs_nothing_else(cli: Cli, tmp_path: Path):
    directory = write_model(tmp_path / "tiny", lower_case=False)
    cli("export", "--encoder", directory, "--to", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + program],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    a, b = load_encoder(directory).encode(
        ["How do I kill a person?", "How do I kill a Python process?"]
    )
    assert float(done.stdout) == pytest.approx(float(a @ b), abs=1e-6)


def test_int8_is_opt_in_and_says_what_it_costs(cli: Cli, tmp_path: Path, second_encoder: Path):
    done = cli("export", "--encoder", second_encoder, "--to", tmp_path / "out", "--int8")
    assert done.code == 0, done.err
    (found,) = re.findall(r"correlation of the cosines of pairs: ([0-9.]+)", done.out)
    assert float(found) > 0.9
    assert len(re.findall(r"change in safety_\w+: [+-]0\.0\d+", done.out)) == 3
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["precision"] == "int8"
    for line in done.out.splitlines()[1:]:
        assert line in (tmp_path / "out" / "README.md").read_text()
    texts = ["kill a process", "bake a cake in linux", "a"]
    encoder, original = load_encoder(tmp_path / "out"), load_encoder(second_encoder)
    assert encoder.fingerprint != original.fingerprint
    together = encoder.encode(texts)
    assert (together != original.encode(texts)).any()
    np.testing.assert_array_equal(
        np.concatenate([encoder.encode([text]) for text in texts]), together
    )


@pytest.mark.parametrize("file", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_a_file_that_was_changed_is_refused(
    cli: Cli, tmp_path: Path, second_encoder: Path, file: str
):
    out = tmp_path / "out"
    assert cli("export", "--encoder", second_encoder, "--to", out).code == 0
    content = (out / file).read_bytes()
    (out / file).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert_refused(cli("run", "--encoder", out), str(out))


@pytest.mark.torch
@pytest.mark.parametrize("model_type", ["distilbert", "modernbert"])
def test_other_architectures_go_through_torch(cli: Cli, tmp_path: Path, model_type: str):
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    directory = write_transformers_model(tmp_path / "model", model_type)
    done = cli("export", "--encoder", directory, "--to", tmp_path / "out")
    assert done.code == 0, done.err
    assert float(re.findall(r"lowest +([0-9.]+)", done.out)[0]) > 0.999999
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (facts["architecture"], facts["pooling"]) == (model_type, "mean")
    texts = ["kill a process", "how do i bake a cake in linux", "a", "bake " * 300]
    exported, original = load_encoder(tmp_path / "out"), load_encoder(directory)
    np.testing.assert_allclose(exported.encode(texts), original.encode(texts), atol=5e-6)
    refused = cli("export", "--encoder", directory, "--to", tmp_path / "int8", "--int8")
    assert refused.code == 2
    assert "int8 is for its architectures" in refused.err
    assert not (tmp_path / "int8").exists()


def test_an_encoder_without_a_graph_is_not_exported(cli: Cli, tmp_path: Path):
    refused = cli("export", "--encoder", "fake", "--to", tmp_path / "out")
    assert_refused(refused, "has no graph to export")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_json_is_refused(cli: Cli, tmp_path: Path, second_encoder: Path):
    assert cli("export", "--encoder", second_encoder, "--to", tmp_path / "out").code == 0
    (tmp_path / "out" / "export.json").write_text('{"sha256": {}}')
    assert_refused(cli("run", "--encoder", tmp_path / "out"), "export.json: damaged", "again")


def test_an_export_is_not_exported_again(cli: Cli, tmp_path: Path, second_encoder: Path):
    assert cli("export", "--encoder", second_encoder, "--to", tmp_path / "out").code == 0
    done = cli("export", "--encoder", tmp_path / "out", "--to", tmp_path / "again")
    assert_refused(done, "is an export already")
    assert not (tmp_path / "again").exists()


def test_an_existing_target_is_left_alone(cli: Cli, tmp_path: Path, second_encoder: Path):
    (tmp_path / "out").mkdir()
    assert_refused(cli("export", "--encoder", second_encoder, "--to", tmp_path / "out"), "exists")


def test_an_export_that_differs_is_not_written(
    cli: Cli, tmp_path: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    from safe_embed.encoders import export

    def wrong(model: object) -> object:
        return real(load_encoder(write_model(tmp_path / "other", seed=1)).model)  # type: ignore[attr-defined]

    real = export.build_graph
    monkeypatch.setattr(export, "build_graph", wrong)
    done = cli("export", "--encoder", second_encoder, "--to", tmp_path / "out")
    assert_refused(done, "differs from its original", "nothing was written")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
