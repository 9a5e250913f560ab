"""Static encoders of model2vec: one vector a token, looked up and averaged; no model is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError
from safe_embed.files import sha256_of
from safe_embed.vectors import normalize_rows

__all__ = ["StaticEncoder", "is_static"]

_EMBEDDINGS = "embeddings"
_WEIGHTS = "weights"
_MAPPING = "mapping"
_MAX_TOKENS = 512  # model2vec's own default, where config.json has no max_length
_DTYPES = frozenset({"F16", "F32", "F64", "I8"})


def is_static(directory: Path) -> bool:
    """Whether a directory holds a static encoder as model2vec saves it."""
    path = directory / "model.safetensors"
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 16)))
    except (OSError, ValueError):  # a long header is that of a transformer
        return False
    return isinstance(header, dict) and _EMBEDDINGS in header


class StaticEncoder:
    """Encoder of a model2vec directory; needs neither torch nor model2vec.

    Its embedding is the mean of the vectors of a text's tokens, made length 1: mean(w[t] E[m[t]])
    over the tokens t, without the unknown one. `model.safetensors` holds the matrix `embeddings`
    (E), and maybe `weights` (w, one a token; else 1) and `mapping` (m, token to row; else the token
    itself). The order of words plays no part. Can be used from several threads.

    Args:
        directory: holds `model.safetensors`, `tokenizer.json` and maybe `config.json`.
        name: for tables and file names; by default that of the directory.
        published_average_similarity: the paper's value for this encoder, if it has one.

    Raises:
        EncoderError: a file is missing or damaged, or they do not belong together.
        UnsupportedModelError: the matrix has a number format that numpy lacks.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str | None = None,
        published_average_similarity: float | None = None,
    ) -> None:
        self._directory = directory
        self._name = name or directory.resolve().name
        self._published_average_similarity = published_average_similarity
        self._embeddings, self._weights, self._mapping = _read_tensors(directory)
        self._tokenizer = _read_tokenizer(directory / "tokenizer.json")
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        self._check_vocabulary(len(vocabulary))
        self._unknown = _unknown_id(directory / "tokenizer.json", vocabulary)
        # As model2vec cuts: first so many characters that most likely hold more, then tokens.
        max_tokens = _read_max_tokens(directory / "config.json")
        self._max_characters: int | None = None
        if max_tokens is not None:
            self._max_characters = max_tokens * int(np.median([len(token) for token in vocabulary]))
            self._tokenizer.enable_truncation(max_tokens)
        self._fingerprint = _fingerprint(directory, max_tokens)

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the matrix, the tokenizer and the way of averaging."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return int(self._embeddings.shape[1])

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        return self._published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, has a lone surrogate, or has no token that the model
                knows: then there is nothing to average.
        """
        cut = [text[: self._max_characters] for text in checked_texts(texts)]
        embeddings = np.empty((len(cut), self.dimension), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast(cut, add_special_tokens=False)
        for index, encoding in enumerate(encodings):
            ids = [token for token in encoding.ids if token != self._unknown]
            embeddings[index] = self._mean(ids) if ids else 0
        if not (lengths := np.abs(embeddings).max(axis=1, initial=0)).all():
            index = int(np.flatnonzero(lengths == 0)[0])
            raise InputError(
                f"texts[{index}] has no token that {self._name} knows ({texts[index][:80]!r}); a "
                "static encoder has no embedding for it: leave it out, or take another encoder"
            )
        return normalize_rows(embeddings)

    def _mean(self, ids: list[int]) -> NDArray[np.float32]:
        rows = ids if self._mapping is None else self._mapping[ids]
        vectors = self._embeddings[rows].astype(np.float32)
        if self._weights is not None:
            vectors *= self._weights[ids][:, None]
        mean: NDArray[np.float32] = vectors.mean(axis=0)
        return mean

    def _check_vocabulary(self, n_tokens: int) -> None:
        named = {_EMBEDDINGS: self._embeddings, _WEIGHTS: self._weights, _MAPPING: self._mapping}
        if self._mapping is not None:
            highest = int(self._mapping.max(initial=-1))
            if int(self._mapping.min(initial=0)) < 0 or highest >= len(self._embeddings):
                raise EncoderError(
                    f"{self._directory / 'model.safetensors'}: mapping names row {highest}, and "
                    f"embeddings has {len(self._embeddings)} rows; fetch the model again"
                )
            del named[_EMBEDDINGS]  # tokens share rows
        for name, tensor in named.items():
            if tensor is not None and len(tensor) < n_tokens:
                raise EncoderError(
                    f"{self._directory}: tokenizer.json has {n_tokens} tokens, and {name} in "
                    f"model.safetensors {len(tensor)} rows; do they belong together?"
                )


def _read_tensors(
    directory: Path,
) -> tuple[NDArray[Any], NDArray[np.float32] | None, NDArray[np.int64] | None]:
    from safetensors import SafetensorError, safe_open

    path = directory / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if _EMBEDDINGS not in names:
                raise EncoderError(f"{path}: no static encoder, as it has no tensor {_EMBEDDINGS}")
            if (dtype := file.get_slice(_EMBEDDINGS).get_dtype()) not in _DTYPES:
                raise UnsupportedModelError(directory, f"the number format {dtype}")
            embeddings = file.get_tensor(_EMBEDDINGS)
            weights = file.get_tensor(_WEIGHTS) if _WEIGHTS in names else None
            mapping = file.get_tensor(_MAPPING) if _MAPPING in names else None
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path}: damaged ({error}); fetch the model again") from error
    if embeddings.ndim != 2 or not embeddings.size or not np.isfinite(embeddings).all():
        raise EncoderError(
            f"{path}: {_EMBEDDINGS} must be a finite matrix, got the shape {embeddings.shape}; "
            "fetch the model again"
        )
    return (
        embeddings,
        None if weights is None else weights.astype(np.float32),
        None if mapping is None else mapping.astype(np.int64),
    )


def _read_tokenizer(path: Path) -> Any:  # noqa: ANN401 - tokenizers has no types
    from tokenizers import Tokenizer

    if not path.is_file():
        raise EncoderError(f"{path} is missing; fetch the model again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise EncoderError(f"{path}: damaged ({reason}); fetch the model again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _unknown_id(path: Path, vocabulary: dict[str, int]) -> int | None:
    """Id of the unknown token, which model2vec leaves out: a name, in a Unigram model an index."""
    model = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    if "unk_token" in model:
        return vocabulary.get(model["unk_token"])
    return cast("int | None", model.get("unk_id"))


def _read_max_tokens(path: Path) -> int | None:
    """Tokens after which a text is cut; None for no limit."""
    if not path.is_file():
        return _MAX_TOKENS
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("max_length", _MAX_TOKENS)
    except (OSError, ValueError, AttributeError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); fetch the model again") from error
    if value is not None and (not isinstance(value, int) or value < 1):
        raise EncoderError(f"{path}: max_length must be 1 or more, or null, got {value!r}")
    return value


def _fingerprint(directory: Path, max_tokens: int | None) -> str:
    digest = hashlib.sha256(f"static 1, {max_tokens} tokens\n".encode())
    for name in ("model.safetensors", "tokenizer.json"):
        digest.update(f"{name} {sha256_of(directory / name)}\n".encode())
    return digest.hexdigest()
