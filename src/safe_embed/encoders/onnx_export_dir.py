"""ONNX graphs that others exported: the common inputs and outputs, run by onnxruntime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.export_settings import ExportSettings, Pooling, read_export_settings
from safe_embed.encoders.onnx_device import providers_of
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError, first_line
from safe_embed.files import sha256_of
from safe_embed.vectors import normalize_rows

__all__ = ["OnnxExportEncoder", "find_graph"]

_GRAPHS = ("model.onnx", "onnx/model.onnx")
_SENTENCE_OUTPUTS = ("sentence_embedding", "embedding", "embeddings", "text_embeds")
_TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings", "hidden_states")
_POOLER_OUTPUT = "pooler_output"
_TOKENS_PER_BATCH = 4096


def find_graph(directory: Path) -> Path | None:
    """The exported graph of a directory, or None."""
    return next((directory / name for name in _GRAPHS if (directory / name).is_file()), None)


class OnnxExportEncoder:
    """Encoder of a directory with `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`.

    Graphs of optimum, sentence-transformers and transformers.js: inputs `input_ids`,
    `attention_mask`, `token_type_ids` and `position_ids`, those that the graph has; the output
    `sentence_embedding` (or `embedding`, `text_embeds`), else `last_hidden_state`, pooled as
    `1_Pooling/config.json` says (mean without it). Batches hold texts of one token length, so
    nothing is padded.

    Args:
        directory: the model.
        name: for tables and file names; by default that of the directory.
        pooling: in place of what the directory says.
        prompt: put before each text, in place of what the directory says.
        published_average_similarity: the paper's value for this encoder, if it has one.
        device: "cpu" or "cuda".
        batch_size: most texts in one batch; by default only tokens are counted.

    Raises:
        UnsupportedModelError: the graph has inputs, outputs or a pooling that are not known here.
        EncoderError: a file is missing or damaged, or there is no such device.
        InputError: an option has a value that cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str | None = None,
        pooling: Pooling | None = None,
        prompt: str | None = None,
        published_average_similarity: float | None = None,
        device: str = "cpu",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {batch_size}")
        graph = find_graph(directory)
        if graph is None:
            raise EncoderError(f"{directory} has no model.onnx or onnx/model.onnx")
        self._name = name or directory.resolve().name
        self._published_average_similarity = published_average_similarity
        self._batch_size = batch_size or _TOKENS_PER_BATCH
        self._settings = read_export_settings(directory, pooling=pooling, prompt=prompt)
        self._tokenizer = _read_tokenizer(directory, self._settings.max_tokens)
        self._session = _open(graph, device)
        self._inputs = _inputs(self._session, directory)
        self._output = _output(self._session, directory, self._settings.pooling)
        self._fingerprint = _fingerprint(directory, graph, self._settings)
        self._dimension = int(self._run(self._tokens(["a"])[0])[:1].shape[1])

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the graph, the tokenizer and the settings."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return self._dimension

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        return self._published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; equal ones are computed once, white space at either end is dropped.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
            EncoderError: the graph fails on a text.
        """
        prepared = [self._prepare(text) for text in checked_texts(texts)]
        row_of = {text: row for row, text in enumerate(dict.fromkeys(prepared))}
        token_ids = self._tokens(list(row_of))
        embeddings = np.empty((len(row_of), self._dimension), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(token_ids):
            by_length.setdefault(ids.shape[1], []).append(row)
        for length, rows in by_length.items():
            size = max(1, min(self._batch_size, _TOKENS_PER_BATCH // length))
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                embeddings[batch] = self._run(np.concatenate([token_ids[row] for row in batch]))
        return embeddings[[row_of[text] for text in prepared]]

    def _prepare(self, text: str) -> str:
        text = (self._settings.prompt + text).strip()
        return text.lower() if self._settings.lower_case else text

    def _tokens(self, texts: list[str]) -> list[NDArray[np.int64]]:
        """Token ids, each of shape (1, length)."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        # A tokenizer without special tokens makes nothing of an empty text.
        return [np.array([encoding.ids or [0]], dtype=np.int64) for encoding in encodings]

    def _run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Token ids of shape (batch, length) to embeddings of shape (batch, d)."""
        values = {
            "input_ids": token_ids,
            "attention_mask": np.ones_like(token_ids),
            "token_type_ids": np.zeros_like(token_ids),
            "position_ids": np.broadcast_to(np.arange(token_ids.shape[1]), token_ids.shape),
        }
        feed = {name: values[name].astype(dtype) for name, dtype in self._inputs.items()}
        try:
            output = np.asarray(self._session.run([self._output], feed)[0], dtype=np.float32)
            return normalize_rows(_pool(output, self._settings.pooling))
        except Exception as error:  # onnxruntime's errors have no base of their own
            reason = first_line(error)
            raise EncoderError(
                f"{self._name}: the graph failed on a text of {token_ids.shape[1]} tokens "
                f"({reason}); do tokenizer.json and the graph belong together?"
            ) from error


def _pool(output: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    if output.ndim == 2:
        return output
    if pooling == "mean":
        mean: NDArray[np.float32] = output.mean(axis=1, dtype=np.float64).astype(np.float32)
        return mean
    return output[:, 0 if pooling == "cls" else -1]


def _open(graph: Path, device: str) -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime

    providers = providers_of(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and told as an EncoderError
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no base of their own
        reason = first_line(error)
        raise EncoderError(f"{graph}: onnxruntime cannot load it ({reason})") from error


def _inputs(session: Any, directory: Path) -> dict[str, type[np.integer[Any]]]:  # noqa: ANN401
    known = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    types: dict[str, type[np.integer[Any]]] = {
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
    }
    found: dict[str, type[np.integer[Any]]] = {}
    for each in session.get_inputs():
        if each.name not in known or each.type not in types:
            raise UnsupportedModelError(directory, f"the graph's input {each.name} ({each.type})")
        found[each.name] = types[each.type]
    if "input_ids" not in found:
        raise UnsupportedModelError(directory, "a graph without the input input_ids")
    return found


def _output(session: Any, directory: Path, pooling: Pooling) -> str:  # noqa: ANN401
    names = [each.name for each in session.get_outputs()]
    wanted = (_POOLER_OUTPUT,) if pooling == "pooler" else (*_SENTENCE_OUTPUTS, *_TOKEN_OUTPUTS)
    for name in wanted:
        if name in names:
            return name
    raise UnsupportedModelError(
        directory, f"the graph's outputs {', '.join(names)} (known: {', '.join(wanted)})"
    )


def _read_tokenizer(directory: Path, max_tokens: int) -> Any:  # noqa: ANN401 - without types
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise EncoderError(f"{path} is missing; put the model's tokenizer beside the graph")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise EncoderError(f"{path}: damaged ({reason}); fetch the model again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _fingerprint(directory: Path, graph: Path, settings: ExportSettings) -> str:
    digest = hashlib.sha256(json.dumps(["onnx-export", asdict(settings)]).encode())
    # Large graphs keep their weights beside them, under names that begin with the graph's.
    for path in (*sorted(graph.parent.glob(f"{graph.name}*")), directory / "tokenizer.json"):
        digest.update(sha256_of(path).encode())
    return digest.hexdigest()
