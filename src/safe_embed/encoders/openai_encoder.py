"""A hosted encoder: any server that answers `POST {base_url}/embeddings` as OpenAI's does."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.openai_answers import RefusedBatchError, read_vectors
from safe_embed.encoders.openai_batches import MOST_TEXTS, Embedded, OnBatch, embed_batches, split
from safe_embed.encoders.openai_transport import OPENAI_HOST, Address, EmbeddingsApi
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError
from safe_embed.secrets import Secret
from safe_embed.vectors import normalize_rows

if TYPE_CHECKING:
    import httpx2

__all__ = ["MODELS", "OPENAI_URL", "PRICES_AS_OF", "OpenAIEncoder"]


class _Model(NamedTuple):
    dimension: int
    usd_per_million_tokens: float


OPENAI_URL = f"https://{OPENAI_HOST}/v1"
PRICES_AS_OF = "2024-01-25"
MODELS: dict[str, _Model] = {
    "text-embedding-3-small": _Model(1536, 0.02),
    "text-embedding-3-large": _Model(3072, 0.13),
    "text-embedding-ada-002": _Model(1536, 0.10),
}
"""OpenAI's own models, with the prices it announced on `PRICES_AS_OF`."""

# Large enough to make few requests of a task, and small enough to lose little with one.
_OPENAI_BATCH_SIZE = 256
_BATCH_SIZE = 32  # what text-embeddings-inference takes at most, unless it is told otherwise
_BYTES_PER_TOKEN = 3  # English has 4 to 5, so that the estimate is rather high
_REPORTED_TOKENS = 100_000
_PROBE = "dimension"


class OpenAIEncoder:
    """Encoder of an OpenAI-compatible API: OpenAI, vLLM, TEI, infinity, Ollama, LiteLLM.

    A text is sent as it is, each distinct one once a call, and at least one request per batch.
    Requests run side by side; failures that may pass are tried again. A batch that the server
    finds too large is halved until it passes, or until one text is left, which is then named.

    A call fails as a whole, but what it was answered is not lost: `on_batch` gets every batch as
    it comes, in the thread that called `encode`, also those still on their way when another one
    failed. With an `on_batch` that stores, a run that was killed asks no stored text again.

    May be shared by threads; after a fork, make a new one.

    Args:
        model: what the API calls it.
        base_url: URL up to and without `/embeddings`. Credentials in it are sent as basic
            authentication, in place of `key`, and never shown.
        name: for tables and file names; by default made from the model and the dimension.
        published_average_similarity: the paper's value for this encoder, if it has one.
        dimension: asks the API to shorten embeddings to so many values (its parameter
            `dimensions`, which not every model has); the model's own when None.
        batch_size: most texts in one request; by default 256 for OpenAI and 32 for others.
        concurrency: requests that are on their way at once, at most, over all threads.
        key: the API's key; servers of your own may need none.
        timeout_s: seconds that one answer may take.
        report: is called with a line for people: a large bill, a long wait, a key in the clear.
        on_batch: see above.
        transport: sends the requests in place of the network.

    Raises:
        InputError: an option has a value that cannot be used, or OpenAI's key is missing.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a user may choose
        self,
        model: str,
        *,
        base_url: str = OPENAI_URL,
        name: str | None = None,
        published_average_similarity: float | None = None,
        dimension: int | None = None,
        batch_size: int | None = None,
        concurrency: int = 4,
        key: Secret | None = None,
        timeout_s: float = 60.0,
        report: Callable[[str], None] = lambda _message: None,
        on_batch: OnBatch | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._address = Address.parse(base_url)
        self._is_openai = self._address.host == OPENAI_HOST
        if not model.strip():
            raise InputError("model must be the name of a model, got none")
        _require("dimension", dimension, 1)
        _require("batch_size", batch_size, 1, MOST_TEXTS if self._is_openai else None)
        _require("concurrency", concurrency, 1)
        if not timeout_s > 0:
            raise InputError(f"timeout_s must be more than 0, got {timeout_s}")
        if self._is_openai and key is None and self._address.user is None:
            raise InputError(
                f"{OPENAI_HOST} needs a key: set OPENAI_API_KEY in the environment, or write "
                "OPENAI_API_KEY=... into a file .env in the working directory"
            )
        if key is not None and self._address.exposed:
            report(f"{self._address.url} is not https: the key can be read on its way there")
        known = MODELS.get(model) if self._is_openai else None
        self._model = model
        self._usd_per_token = known.usd_per_million_tokens / 1e6 if known else None
        self._shortened = None if known and dimension == known.dimension else dimension
        self._dimension = dimension or (known.dimension if known else None)
        self._name = name or _name(model, self._shortened)
        self._published_average_similarity = published_average_similarity
        self._batch_size = batch_size or (_OPENAI_BATCH_SIZE if self._is_openai else _BATCH_SIZE)
        self._concurrency = concurrency
        self._report = report
        self._on_batch = on_batch
        self._n_tokens = 0
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._api = EmbeddingsApi(
            self._address,
            key=key,
            concurrency=concurrency,
            timeout_s=timeout_s,
            report=report,
            transport=transport,
        )
        weakref.finalize(self, self._api.close).atexit = False

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the API's host and path, the model, and the shortened dimension.

        It cannot know when a server puts another model under the same name.
        """
        what = ["openai", self._address.host, self._address.path, self._model, self._shortened]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """Number of values in one embedding; for a model that is not known here, one request.

        Raises:
            EncoderError: that request failed.
        """
        with self._probing:
            known = self._dimension
            if known is None:
                (vector,) = self._embed([_PROBE], None).values()
                known = len(vector)
        return known

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        return self._published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: any number of texts, duplicates allowed, none of them blank; no text gives an
                array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, has a lone surrogate, or is empty or blank, which
                APIs refuse (nothing is sent then); or the server refuses a text by itself.
            EncoderError: the API cannot be reached, refuses, or answers what is no embedding.
        """
        texts = checked_texts(texts)
        for index, text in enumerate(texts):
            if not text.strip():
                raise InputError(
                    f"texts[{index}] is empty or blank, which embeddings APIs refuse; leave it out"
                )
        distinct = list(dict.fromkeys(texts))
        self._announce(distinct)
        found = self._embed(distinct, self._on_batch)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return np.stack([found[text] for text in texts])

    def estimate(self, texts: Sequence[str]) -> tuple[int, float | None]:
        """Estimates what it costs to encode texts; sends nothing.

        Args:
            texts: as for `encode`; a duplicate costs nothing.

        Returns:
            Number of tokens, one for every three bytes of UTF-8 begun, which is rather high for
            English; and US dollars by the prices of `PRICES_AS_OF`, None where there is no price.
        """
        distinct = set(checked_texts(texts))
        n_tokens = sum(-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in distinct)
        return n_tokens, None if self._usd_per_token is None else n_tokens * self._usd_per_token

    def _announce(self, texts: list[str]) -> None:
        """Reports, once, that this encoder is about to be asked for much."""
        n_tokens, _ = self.estimate(texts)
        with self._lock:
            before, self._n_tokens = self._n_tokens, self._n_tokens + n_tokens
            total = self._n_tokens
        if before <= _REPORTED_TOKENS < total:
            price = ""
            if self._usd_per_token is not None:
                usd = total * self._usd_per_token
                price = f", about ${usd:.2f} by the prices of {PRICES_AS_OF}"
            self._report(
                f"{self._name} is sent over {_REPORTED_TOKENS:,} tokens: about "
                f"{total:,} so far{price} (an estimate)"
            )

    def _embed(self, texts: list[str], on_batch: OnBatch | None) -> dict[str, NDArray[np.float32]]:
        batches = split(texts, self._batch_size)
        return embed_batches(batches, self._ask, concurrency=self._concurrency, on_batch=on_batch)

    def _ask(self, batch: list[str], stop: threading.Event) -> Iterator[Embedded]:
        body: dict[str, object] = {"model": self._model, "input": batch}
        body["encoding_format"] = "base64" if self._is_openai else "float"
        if self._shortened is not None:
            body["dimensions"] = self._shortened
        try:
            answer = self._api.post(body, stop)
        except RefusedBatchError as error:
            if len(batch) == 1:
                raise InputError(
                    f"{self._name} refuses the text {batch[0][:80]!r} ({len(batch[0]):,} "
                    f"characters): {error}; shorten it or leave it out"
                ) from None
        else:
            yield batch, self._checked(read_vectors(answer, len(batch), self._address.url), batch)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            yield from self._ask(half, stop)

    def _checked(self, vectors: NDArray[np.float32], batch: list[str]) -> NDArray[np.float32]:
        got = vectors.shape[1]
        with self._lock:
            if self._dimension is None:
                self._dimension = got
            expected = self._dimension
        if got != expected:
            raise EncoderError(
                f"{self._address.url} answered with embeddings of {got} values, expected "
                f"{expected}; see that it serves one model {self._model!r}"
            )
        usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        if not usable.all():
            text = batch[int(np.flatnonzero(~usable)[0])]
            raise EncoderError(
                f"{self._address.url} gave zero, NaN or infinity for the text {text[:80]!r}; "
                "leave it out, or see the server's log"
            )
        return normalize_rows(vectors)


def _name(model: str, shortened: int | None) -> str:
    """The last part of a model's name, fit for a file name: BAAI/bge-m3 -> bge-m3."""
    last = re.sub(r"[^\w.-]+", "-", model.rstrip("/").rpartition("/")[2]).strip("-.") or "model"
    return last if shortened is None else f"{last}-{shortened}"


def _require(option: str, value: int | None, least: int, most: int | None = None) -> None:
    if value is not None and (value < least or (most is not None and value > most)):
        wanted = f"{least} or more" if most is None else f"from {least} to {most}"
        raise InputError(f"{option} must be {wanted}, got {value}")
