"""Writes an encoder as a folder that runs with onnxruntime and tokenizers alone."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph
from safe_embed.errors import InputError
from safe_embed.files import sha256_of

__all__ = ["EXPORT_FILE", "write_export"]

EXPORT_FILE = "export.json"
_GRAPH_FILE = "model.onnx"
_TENSOR_FILE = "model.onnx.data"
_TOKENIZER_FILE = "tokenizer.json"


def write_export(encoder: OnnxEncoder, directory: Path) -> None:
    """Fills an empty directory with the graph, the tokenizer, the settings and a model card.

    The graph holds pooling and normalisation. `load_encoder` reads the directory again as any ONNX
    export; the model card shows how to run it without this package.

    Args:
        encoder: of the engine; others have no graph that is built here.
        directory: exists and is empty.

    Raises:
        InputError: the directory holds something.
        StorageError: raised by the caller's `atomic_directory` where a file cannot be written.
    """
    import onnx

    if any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; an export is written into a new directory")
    model = encoder.model
    onnx.save_model(
        build_graph(model),
        str(directory / _GRAPH_FILE),
        save_as_external_data=True,
        location=_TENSOR_FILE,
    )
    # onnx makes its tensors private, and the folder is for others.
    (directory / _TENSOR_FILE).chmod((directory / _GRAPH_FILE).stat().st_mode)
    shutil.copyfile(model.tokenizer_path, directory / _TOKENIZER_FILE)
    _write_json(
        directory / "sentence_bert_config.json",
        {"max_seq_length": model.max_tokens, "do_lower_case": model.lower_case},
    )
    if model.prompt:
        prompts = {"prompts": {"default": model.prompt}, "default_prompt_name": "default"}
        _write_json(directory / "config_sentence_transformers.json", prompts)
    names = (_GRAPH_FILE, _TENSOR_FILE, _TOKENIZER_FILE)
    facts = {
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "weights_sha256": model.weights_digest,
        "architecture": model.model_type,
        "pooling": model.pooling,
        "dimension": model.dimension,
        "max_tokens": model.max_tokens,
        "lower_case": model.lower_case,
        "prompt": model.prompt,
        "sha256": {name: sha256_of(directory / name) for name in names},
        "versions": {name: version(name) for name in ("safe-embed", "onnx", "onnxruntime")},
    }
    _write_json(directory / EXPORT_FILE, facts)
    card = _CARD.format(**facts, lower=".lower()" if model.lower_case else "")
    (directory / "README.md").write_text(card, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


_CARD = """# {encoder}, exported by safe-embed

A sentence encoder as an ONNX graph with pooling ({pooling}) and normalisation inside: token ids in,
embeddings of length 1 out ({dimension} values). It is the encoder with the fingerprint
`{fingerprint}`; the licence is that of its weights. `export.json` has the digests.

A batch holds texts of one token length; nothing is padded. It runs with onnxruntime, tokenizers and
NumPy alone:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation({max_tokens})
session = onnxruntime.InferenceSession("model.onnx")


def encode(text):
    ids = tokenizer.encode(({prompt!r} + text).strip(){lower}).ids
    return session.run(None, {{"input_ids": np.array([ids], dtype=np.int64)}})[0][0]


print(encode("How do I kill a person?") @ encode("How do I kill a Python process?"))
```
"""
