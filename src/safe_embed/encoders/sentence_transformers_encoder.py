"""The second engine: sentence-transformers, for architectures that the first one lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.lora import LoraAdapter, merge_lora
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError, MissingExtraError, first_line
from safe_embed.files import sha256_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformersEncoder"]

_DEFAULT_BATCH_SIZE = 32
_NOT_READ = frozenset({".md", ".gitattributes", ".gitignore", ".onnx", ".h5", ".ot", ".msgpack"})


class SentenceTransformersEncoder:
    """Encoder of anything that sentence-transformers loads; needs the extra `torch`.

    Code and pickles that come with a model are run or read only when it is said so.

    Args:
        source: a directory, or the id of a model on the Hugging Face hub, which is fetched.
        name: for tables and file names; by default the last part of `source`.
        published_average_similarity: the paper's value for this encoder, if it has one.
        device: "cpu" or "cuda".
        batch_size: texts in one batch; 32 by default.
        revision: commit of the model on the hub; by default the newest.
        prompt: put before each text, in place of the model's own; "" for none.
        adapter: merged into the weights of the transformer.
        trust_remote_code: run Python code that comes with the model.
        allow_pickle: read pickled weights, in torch's weights_only mode, where there are no others.

    Raises:
        MissingExtraError: torch or sentence-transformers is not installed.
        EncoderError: the model cannot be loaded, or there is no such device.
        InputError: an option has a value that cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a user may choose
        self,
        source: Path | str,
        *,
        name: str | None = None,
        published_average_similarity: float | None = None,
        device: str = "cpu",
        batch_size: int | None = None,
        revision: str | None = None,
        prompt: str | None = None,
        adapter: LoraAdapter | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {batch_size}")
        if not allow_pickle:
            _refuse_pickles(Path(source))
        self._model = _load(source, device, revision, code=trust_remote_code, pickle=allow_pickle)
        if adapter is not None:
            _merge(self._model, adapter)
        self._prompt = prompt
        self._name = name or Path(source).resolve().name
        self._published_average_similarity = published_average_similarity
        self._batch_size = batch_size or _DEFAULT_BATCH_SIZE
        self._fingerprint = _fingerprint(source, self._model, revision, prompt, adapter)
        self._dimension: int = self._encode([""]).shape[1]

    @property
    def model(self) -> SentenceTransformer:
        """What sentence-transformers loaded."""
        return self._model

    @property
    def prompt(self) -> str | None:
        """Put before each text in place of the model's own prompt; None for that one."""
        return self._prompt

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the files of a directory, or the id and commit of a hub model."""
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
        """Embeds texts.

        White space at either end is dropped, as the other engine does and as only some versions of
        sentence-transformers do.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
        """
        stripped = [text.strip() for text in checked_texts(texts)]
        if not stripped:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._encode(stripped)

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        embeddings = self._model.encode(
            texts,
            prompt=self._prompt,  # None: the model's own default
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(embeddings, dtype=np.float32)


def _refuse_pickles(directory: Path) -> None:
    """Modules after the transformer are read by another loader, which takes pickles silently."""
    for path in sorted(directory.glob("*_*/pytorch_model.bin")):
        if not path.with_name("model.safetensors").exists():
            raise EncoderError(
                f"{path} is a pickle, which can hold code, and there are no safetensors beside it; "
                "with --allow-pickle it is read in torch's weights_only mode"
            )


def _load(
    source: Path | str, device: str, revision: str | None, *, code: bool, pickle: bool
) -> SentenceTransformer:
    try:
        import torch  # an extra
        from sentence_transformers import SentenceTransformer  # an extra
    except ImportError as error:
        raise MissingExtraError("torch", needed_for="the sentence-transformers backend") from error
    if device not in ("cpu", "cuda"):
        raise InputError(f"device must be one of cpu, cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError("device 'cuda': torch finds no CUDA device; use the device 'cpu'")
    try:
        with _no_progress_bars():
            model = SentenceTransformer(
                str(source),
                device=device,
                revision=revision,
                trust_remote_code=code,
                # The code of some models is in a repository of its own.
                local_files_only=Path(source).is_dir() and not code,
                model_kwargs={"use_safetensors": None if pickle else True},
            )
    except Exception as error:  # whatever the libraries below it raise
        reason = first_line(error)
        raise EncoderError(f"{source}: sentence-transformers cannot load it: {reason}") from error
    return model.float()  # weights may be stored as float16


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    logging = import_module("transformers.utils.logging")  # an extra, and without types
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _merge(model: SentenceTransformer, adapter: LoraAdapter) -> None:
    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        raise EncoderError(f"{adapter.path}: the model has no transformer to merge it into")
    merge_lora(transformer, adapter)


def _fingerprint(
    source: Path | str,
    model: SentenceTransformer,
    revision: str | None,
    prompt: str | None,
    adapter: LoraAdapter | None,
) -> str:
    digest = hashlib.sha256(b"sentence-transformers\n")
    if adapter is not None:
        digest.update(f"adapter {adapter.digest}\n".encode())
    if prompt is not None:
        digest.update(f"prompt {prompt!r}\n".encode())
    if Path(source).is_dir():
        for file in _files_read(Path(source)):
            digest.update(f"{file.relative_to(source).as_posix()} {sha256_of(file)}\n".encode())
    else:
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        commit = getattr(config, "_commit_hash", None) or revision
        digest.update(f"{source} {commit}\n".encode())
    return digest.hexdigest()


def _files_read(directory: Path) -> list[Path]:
    """The files that can change an embedding: no read-me, no other formats of the weights."""
    return sorted(
        file
        for file in directory.rglob("*")
        if file.is_file() and file.suffix not in _NOT_READ and not file.name.startswith(".")
    )
