"""The default engine: a sentence encoder as an ONNX graph, run by onnxruntime without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.onnx_session import (
    digest_of,
    graph_key,
    open_session,
    usable_cores,
)
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError, first_line

__all__ = ["OnnxEncoder"]

_TEXTS_ONE_BY_ONE = 8
_TEXTS_AT_ONCE = 4096  # bounds the memory for token ids, whatever the corpus


class OnnxEncoder:
    """Encoder of a BERT-like model directory.

    Each batch holds texts of one token length. Nothing is padded, so on one machine an embedding
    is the same, bit for bit, whatever else is encoded with it. Can be used from several threads.

    Args:
        model: the directory, from `read_model_dir`.
        name: for tables and file names.
        published_average_similarity: the paper's value for this encoder, if it has one.
        device: "cpu" or "cuda".
        tokens_per_batch: most tokens in one batch; a longer text is a batch of its own.
        batch_size: most texts in one batch; by default only tokens are counted.
        threads: of one batch; by default one per core.

    Raises:
        UnsupportedModelError: the engine cannot run this model; sentence-transformers may.
        EncoderError: the model is damaged, or there is no such device.
        InputError: an option has a value that cannot be used.
    """

    def __init__(
        self,
        model: ModelDir,
        *,
        name: str,
        published_average_similarity: float | None = None,
        device: str = "cpu",
        tokens_per_batch: int = 512,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        for option, value in (
            ("tokens_per_batch", tokens_per_batch),
            ("batch_size", batch_size),
            ("threads", threads),
        ):
            if value is not None and value < 1:
                raise InputError(f"{option} must be 1 or more, got {value}")
        self._model = model
        self._name = name
        self._published_average_similarity = published_average_similarity
        self._tokens_per_batch = tokens_per_batch
        self._batch_size = batch_size or tokens_per_batch
        self._threads = threads or usable_cores()
        self._tokenizer = _load_tokenizer(model)
        self._session = open_session(model, device, self._threads)

    @property
    def model(self) -> ModelDir:
        """The directory and settings that it was made from."""
        return self._model

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the graph, the tokenizer and how texts are prepared."""
        model = self._model
        return digest_of(
            {
                "backend": "onnx",
                "graph": graph_key(model),
                "tokenizer": model.tokenizer_digest,
                "max_tokens": model.max_tokens,
                "lower_case": model.lower_case,
                "prompt": model.prompt,
            }
        )

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return self._model.dimension

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        return self._published_average_similarity

    @property
    def threads(self) -> int:
        """Threads of one batch on the CPU."""
        return self._threads

    @property
    def max_tokens(self) -> int:
        """A text of more tokens is cut to this many, special ones included."""
        return self._model.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Number of tokens of each text before it is cut, int64 of shape (n,)."""
        counts = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            prepared = [self._prepare(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
            encodings = self._tokenize(prepared)
            counts[start : start + len(prepared)] = [
                # what was cut comes in pieces, each with its special tokens again
                len(one.ids)
                + sum(len(part.ids) - part.special_tokens_mask.count(1) for part in one.overflowing)
                for one in encodings
            ]
        return counts

    def token_ids(self, text: str) -> NDArray[np.int64]:
        """What the graph is given for a text: int64 of shape (1, tokens), cut at `max_tokens`."""
        return np.array([self._tokenizer.encode(self._prepare(text)).ids], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; equal ones are computed once.

        White space at either end is dropped, and a text is cut at the model's `max_tokens`.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
            EncoderError: the model has no vector for a token that its tokenizer made.
        """
        prepared = [self._prepare(text) for text in checked_texts(texts)]
        row_of = {text: row for row, text in enumerate(dict.fromkeys(prepared))}
        distinct = list(row_of)
        embeddings = np.empty((len(distinct), self.dimension), dtype=np.float32)
        for start in range(0, len(distinct), _TEXTS_AT_ONCE):
            part = distinct[start : start + _TEXTS_AT_ONCE]
            embeddings[start : start + len(part)] = self._encode_distinct(part)
        return embeddings[[row_of[text] for text in prepared]]

    def _encode_distinct(self, texts: list[str]) -> NDArray[np.float32]:
        token_ids = [encoding.ids for encoding in self._tokenize(texts)]
        embeddings = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows in self._batches([len(ids) for ids in token_ids]):
            embeddings[rows] = self._run(np.array([token_ids[row] for row in rows], dtype=np.int64))
        return embeddings

    def _tokenize(self, texts: list[str]) -> list[Encoding]:
        # A few texts are not worth waking the tokenizer's threads, which get in the session's way.
        if len(texts) <= _TEXTS_ONE_BY_ONE:
            return [self._tokenizer.encode(text) for text in texts]
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(texts)
        return encodings

    def _prepare(self, text: str) -> str:
        text = (self._model.prompt + text).strip()
        return text.lower() if self._model.lower_case else text

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Cuts texts into batches of one length each; yields their rows."""
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            by_length.setdefault(length, []).append(row)
        for length, rows in by_length.items():
            size = max(1, min(self._batch_size, self._tokens_per_batch // max(1, length)))
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    def _run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Token ids of shape (batch, length) to embeddings of shape (batch, d).

        A batch that does not fit into memory is halved, not lost.
        """
        try:
            embeddings: NDArray[np.float32] = self._session.run(None, {"input_ids": token_ids})[0]
        except Exception as error:  # onnxruntime's errors have no base of their own
            if len(token_ids) > 1 and _is_memory(error):
                half = len(token_ids) // 2
                return np.concatenate([self._run(token_ids[:half]), self._run(token_ids[half:])])
            raise EncoderError(
                f"{self._name}: the model failed on a text of {token_ids.shape[1]} tokens "
                f"({first_line(error)}); do tokenizer.json and config.json belong together?"
            ) from error
        return embeddings


def _is_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "bad allocation" in text


def _load_tokenizer(model: ModelDir) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(model.tokenizer_path))
    except Exception as error:  # tokenizers raises bare Exception
        raise EncoderError(
            f"{model.tokenizer_path}: damaged ({first_line(error)}); fetch the model again"
        ) from error
    # The file may carry another length, and padding that nothing here wants.
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_tokens)
    return tokenizer
