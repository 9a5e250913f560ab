"""What the verbs of the detector have in common: its encoder, its index, and labelled files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safe_embed.cli.output import note, progress_bar

if TYPE_CHECKING:
    from safe_embed.datasets.labelled import ColumnMap
    from safe_embed.detection import Detector
    from safe_embed.encoders import Encoder
    from safe_embed.stores.sqlite import SqliteStore

__all__ = [
    "EncoderChoice",
    "column_map",
    "columns_of",
    "full_category",
    "opened_detector",
    "opened_store",
    "remembered_as",
    "remembered_encoder",
]


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """The options that choose an encoder.

    Args:
        name: None for the one that the index was built with, or else the default.
        backend: as `load_encoder` has it.
        device: `cpu` or `cuda`.
        base_url: address of an API.
        trust_remote_code: run code that comes with a hub model.
        allow_pickle: read pickled weights that nothing pins.
        cache: look embeddings up in the user's cache and keep them there.
    """

    name: str | None = None
    backend: str | None = None
    device: str = "cpu"
    base_url: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    cache: bool = False

    def load(self, remembered: str = "") -> Encoder:
        """The encoder.

        Args:
            remembered: name to take where none was chosen; "" for the default.
        """
        from safe_embed.encoders import LoadOptions, load_encoder

        options = LoadOptions(
            base_url=self.base_url,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )
        return load_encoder(
            self.name or remembered or _default_name(),
            backend=self.backend,
            device=self.device,
            cache=self.cache,
            report=note,
            options=options,
        )


@contextmanager
def opened_store(path: Path) -> Iterator[SqliteStore]:
    """A store that is there; closed in the end."""
    from safe_embed.stores.sqlite import SqliteStore

    store = SqliteStore.open(path, report=note)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_detector(choice: EncoderChoice, path: Path | None) -> Iterator[Detector]:
    """The detector on an index, or on the default one of the encoder; closed in the end.

    Args:
        choice: of the encoder.
        path: of the index; None for the default one, which is built where it is not there.
    """
    if path is None:
        with _default_detector(choice.load()) as detector:
            yield detector
        return
    from safe_embed.detection import Detector
    from safe_embed.errors import InputError

    with opened_store(path) as store:
        remembered = remembered_encoder(store)
        encoder = choice.load(remembered)
        if encoder.fingerprint != store.fingerprint:
            built = f" {remembered!r}" if remembered else ""
            raise InputError(
                f"the index {path} was built with another encoder{built} (fingerprint "
                f"{store.fingerprint[:12]}; {encoder.name!r} has {encoder.fingerprint[:12]}): use "
                f"that one, or change the index with `safe-embed index reembed --store "
                f"{shlex.quote(str(path))} --encoder {shlex.quote(choice.name or encoder.name)}`"
            )
        yield Detector.open(store, encoder)


def remembered_as(choice: EncoderChoice) -> dict[str, str]:
    """The document of a store by which later commands on it do without --encoder."""
    from safe_embed.detection.documents import ENCODER_KEY
    from safe_embed.encoders.adaptation import absolute_name

    return {ENCODER_KEY: absolute_name(choice.name or _default_name())}


def remembered_encoder(store: SqliteStore) -> str:
    """The name of `remembered_as`; "" where there is none."""
    from safe_embed.detection.documents import ENCODER_KEY

    return store.get_documents([ENCODER_KEY]).get(ENCODER_KEY, "")


def columns_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """From `FIELD=NAME` to the file's column of each field."""
    from safe_embed.errors import InputError

    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise InputError(f"--column takes FIELD=NAME, such as text=question, got {pair!r}")
        if name in found:
            raise InputError(f"--column names the field {name!r} twice; give each once")
        found[name] = column
    return found


def column_map(
    columns: Sequence[str] | None, unsafe: Sequence[str] | None, safe: Sequence[str] | None
) -> ColumnMap:
    """How a file names columns and labels, by the options."""
    from safe_embed.datasets.labelled import ColumnMap

    return ColumnMap(
        columns=columns_of(columns), unsafe=tuple(unsafe or ()), safe=tuple(safe or ())
    )


def full_category(name: str | None) -> str | None:
    """The full name of a category of harm where it is given by its short one."""
    from safe_embed.taxonomy import HARM_CATEGORIES

    full_names = {short: full for full, short in HARM_CATEGORIES.items()}
    return full_names.get(name, name) if name is not None else None


def _default_name() -> str:
    from safe_embed.encoders.catalogue import DEFAULT_DETECTOR_ENCODER

    return DEFAULT_DETECTOR_ENCODER


@contextmanager
def _default_detector(encoder: Encoder) -> Iterator[Detector]:
    from safe_embed.detection import Detector, default_detector
    from safe_embed.detection.default import default_index_path
    from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache
    from safe_embed.files import cache_dir
    from safe_embed.stores.sqlite import SqliteStore

    path = default_index_path(encoder)
    if _is_built(path):
        # Not through `default_detector`: a calibration on the user's own data stays as it is.
        with opened_store(path) as store:
            yield Detector.open(store, encoder)
        return
    note(f"building the index of safe-embed-core for {encoder.name}, once; it is kept in {path}")
    kept = CachedEncoder(encoder, EmbeddingCache(cache_dir() / "embeddings"))
    stores: list[SqliteStore] = []

    def create(path: Path, fingerprint: str, dimension: int) -> SqliteStore:
        stores.append(SqliteStore.open_or_create(path, fingerprint, dimension, report=note))
        return stores[-1]

    try:
        with progress_bar(f"embedding with {encoder.name}") as progress:
            detector = default_detector(kept, create, progress=progress)
        yield detector
    finally:
        for store in stores:
            store.close()


def _is_built(path: Path) -> bool:
    """Whether the default index is whole; a build that was cut off left it without calibration."""
    from safe_embed.detection.documents import CALIBRATION_KEY
    from safe_embed.errors import StorageError

    if not path.exists():
        return False
    try:
        with opened_store(path) as store:
            return bool(store.get_documents([CALIBRATION_KEY]).get(CALIBRATION_KEY))
    except StorageError as error:
        raise StorageError(
            f"{error} (it is only kept in the cache: delete {path}, and it is built again)"
        ) from None
