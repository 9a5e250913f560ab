"""Writes an encoder as a folder that runs with onnxruntime and tokenizers alone, and opens it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.exported import (
    EXPORT_FILE,
    GRAPH_FILE,
    TENSOR_FILE,
    TOKENIZER_FILE,
    ExportedDir,
)
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph
from safe_embed.encoders.onnx_session import largest_activations
from safe_embed.encoders.sentence_transformers_encoder import SentenceTransformersEncoder
from safe_embed.errors import InputError
from safe_embed.files import sha256_of

if TYPE_CHECKING:
    import onnx

__all__ = ["CARD_FILE", "open_export", "write_export"]

CARD_FILE = "README.md"


def open_export(
    directory: Path,
    *,
    name: str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    threads: int | None = None,
) -> OnnxEncoder:
    """Opens a folder of `write_export` with the engine.

    Args:
        directory: the folder.
        name: for tables and file names; by default that of the folder.
        device: "cpu" or "cuda".
        batch_size: most texts in one batch; by default only tokens are counted.
        threads: of one batch; by default one per core.

    Raises:
        EncoderError: a file is missing, or is not the one that was exported.
    """
    return OnnxEncoder(
        ExportedDir.read(directory),
        name=name or directory.resolve().name,
        device=device,
        batch_size=batch_size,
        threads=threads,
    )


def write_export(
    encoder: Encoder, directory: Path, *, int8_texts: Sequence[str] | None = None
) -> None:
    """Fills an empty directory with the graph, the tokenizer, the settings and a model card.

    The graph holds pooling and normalisation. The engine's encoders have the graph that it builds;
    those of sentence-transformers get theirs from torch's exporter. `load_encoder` reads the
    directory again; the model card shows how to run it without this package.

    Args:
        encoder: of the engine, or of sentence-transformers.
        directory: exists and is empty.
        int8_texts: typical texts. Where they are given, dense layers become int8, and these tell
            how large its activations are. For encoders of the engine only.

    Raises:
        InputError: the directory holds something, or the encoder is an export itself or of another
            kind.
        EncoderError: torch cannot export it.
        MissingExtraError: the extra `torch` is needed and not installed.
        StorageError: raised by the caller's `atomic_directory` where a file cannot be written.
    """
    if any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; an export is written into a new directory")
    if isinstance(encoder, OnnxEncoder):
        facts = _write_of_engine(encoder, directory, int8_texts)
    elif isinstance(encoder, SentenceTransformersEncoder):
        if int8_texts is not None:
            raise InputError(
                f"{encoder.name} is not run by the engine, and int8 is for its architectures "
                "(BERT, RoBERTa, XLM-RoBERTa, MPNet); export without --int8"
            )
        facts = _write_of_torch(encoder, directory)
    else:
        raise InputError(
            f"{encoder.name} has no graph to export: it is neither of the engine nor of "
            "sentence-transformers"
        )
    names = (GRAPH_FILE, TENSOR_FILE, TOKENIZER_FILE)
    facts = {
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "precision": "float32" if int8_texts is None else "int8",
        "dimension": encoder.dimension,
        **facts,
        "sha256": {name: sha256_of(directory / name) for name in names},
        "versions": {name: version(name) for name in ("safe-embed", "onnx", "onnxruntime")},
    }
    (directory / EXPORT_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    card = _CARD.format(**facts, lower=".lower()" if facts["lower_case"] else "")
    (directory / CARD_FILE).write_text(card, encoding="utf-8")


def _write_of_engine(
    encoder: OnnxEncoder, directory: Path, int8_texts: Sequence[str] | None
) -> dict[str, Any]:
    """Writes graph and tokenizer; returns what export.json says of them."""
    model = encoder.model
    if isinstance(model, ExportedDir):
        raise InputError(f"{model.path} is an export already; name the original")
    graph = build_graph(model) if int8_texts is None else _int8_graph(encoder, int8_texts)
    _save(graph, directory)
    shutil.copyfile(model.tokenizer_path, directory / TOKENIZER_FILE)
    return {
        "weights_sha256": model.weights_digest,
        "architecture": model.model_type,
        "pooling": model.pooling,
        "max_tokens": model.max_tokens,
        "lower_case": model.lower_case,
        "prompt": model.prompt,
        **({"adapter": model.adapter.digest} if model.adapter else {}),
    }


def _write_of_torch(encoder: SentenceTransformersEncoder, directory: Path) -> dict[str, Any]:
    """Writes graph and tokenizer; returns what export.json says of them."""
    from safe_embed.encoders.torch_graph import trace

    traced = trace(encoder.model, encoder.prompt)
    _save(traced.graph, directory)
    (directory / TOKENIZER_FILE).write_text(traced.tokenizer, encoding="utf-8")
    return {
        "weights_sha256": sha256_of(directory / TENSOR_FILE),
        "architecture": traced.model_type,
        "pooling": traced.pooling,
        "max_tokens": traced.max_tokens,
        "lower_case": traced.lower_case,
        "prompt": traced.prompt,
    }


def _int8_graph(encoder: OnnxEncoder, texts: Sequence[str]) -> onnx.ModelProto:
    import onnx

    from safe_embed.encoders.onnx_graph.quantize import calibrated_inputs, quantize

    graph = build_graph(encoder.model)
    names = calibrated_inputs(graph)
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    with tempfile.TemporaryDirectory() as scratch:
        _save(graph, Path(scratch))
        batches = map(encoder.token_ids, texts)
        largest = largest_activations(Path(scratch) / GRAPH_FILE, names, batches)
    return quantize(build_graph(encoder.model), largest)


def _save(graph: onnx.ModelProto, directory: Path) -> None:
    """Writes the graph, and its tensors beside it; the tensors leave `graph`."""
    import onnx

    path = directory / GRAPH_FILE
    onnx.save_model(graph, str(path), save_as_external_data=True, location=TENSOR_FILE)
    # onnx makes its tensors private, and the folder is for others.
    (directory / TENSOR_FILE).chmod(path.stat().st_mode)


_CARD = """# {encoder}, exported by safe-embed

A sentence encoder as an ONNX graph with pooling ({pooling}) and normalisation inside: token ids in,
embeddings of length 1 out ({dimension} values, computed in {precision}). It was made from the
encoder with the fingerprint `{fingerprint}`; the licence is that of its weights. `export.json` has
the digests.

A batch holds texts of one token length; nothing is padded. It runs with onnxruntime, tokenizers and
NumPy alone:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation({max_tokens})
options = onnxruntime.SessionOptions()  # as written: the optimiser ties a vector to its batch
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession("model.onnx", options)


def encode(text):
    ids = tokenizer.encode(({prompt!r} + text).strip(){lower}).ids
    return session.run(None, {{"input_ids": np.array([ids], dtype=np.int64)}})[0][0]


print(encode("How do I kill a person?") @ encode("How do I kill a Python process?"))
```
"""
