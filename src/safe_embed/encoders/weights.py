"""The weights of catalogued encoders: where they are on this machine, and how they get there.

They lie in `encoders/<name>` of the user's cache. What is missing comes from a directory that the
caller names, or else from the model hub at the pinned revision, or else from the row's PyPI wheel.
Files are collected in a staging directory that an interrupted run leaves for the next one, and the
checked whole is put in its place in one step, so a directory of that name is always complete.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safe_embed.encoders.catalogue import TOKENIZER_FILE, EncoderRow, row_for_weights
from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.weight_sources import bring_from_hub, bring_from_wheel
from safe_embed.errors import DownloadError, EncoderError, StorageError
from safe_embed.files import atomic_directory, cache_dir, sha256_of

__all__ = ["fetch", "find", "recognize", "verify"]

Report = Callable[[str], None]
_LOGGER = logging.getLogger(__name__)


def find(row: EncoderRow) -> Path | None:
    """The encoder's directory in the user's cache, or None; digests are not computed again."""
    directory = _home(row)
    return directory if all((directory / name).is_file() for name in row.files) else None


def recognize(model: ModelDir) -> EncoderRow | None:
    """The catalogued encoder that a directory holds, or None.

    Its weights and tokenizer must be the pinned ones, and its settings those of the row: then its
    embeddings are that encoder's, whatever the directory is called.
    """
    row = row_for_weights(model.weights_digest)
    if row is None or model.tokenizer_digest != row.files[TOKENIZER_FILE]:
        return None
    same = (model.pooling, model.max_tokens, model.prompt) == (row.pooling, row.max_tokens, "")
    return row if same else None


def verify(row: EncoderRow, directory: Path) -> None:
    """Checks that a directory holds all files of an encoder, each with the pinned digest.

    Raises:
        EncoderError: a file is missing, unreadable or another one than was pinned.
    """
    if problem := _problem(row, directory):
        raise EncoderError(
            f"{directory}: {problem}; `safe-embed encoders fetch {row.name}` puts the right files "
            "into the cache"
        )


def fetch(row: EncoderRow, *, source: Path | None = None, report: Report = _LOGGER.info) -> Path:
    """Makes sure that an encoder's files are in the user's cache, and checks their digests.

    A copy in the cache that is damaged or of an older revision is replaced. Processes that fetch
    the same encoder take turns; the later ones find it there.

    Args:
        row: the encoder.
        source: a directory that holds its files; then nothing is asked over a network.
        report: called with a line for people at each step.

    Returns:
        The directory in the cache.

    Raises:
        EncoderError: `source` lacks a file, or has one with another digest.
        DownloadError: no place had the files; the message says what was tried.
        StorageError: the cache cannot be written, or the disk is full.
    """
    home = _home(row)
    if not (problem := _problem(row, home)):
        return home
    if home.exists():
        report(f"{home}: {problem}; replacing it")
    with _storage_errors(home), _alone(row):
        if not _problem(row, home):  # another process was faster
            return home
        staging = home.with_name(f".{row.name}.{row.revision[:12]}.part")
        if source is None:
            _bring(row, staging, report)
        try:
            _publish(row, source or staging)
        finally:  # also when a staged file went bad, or the next run would be stuck with it
            shutil.rmtree(staging, ignore_errors=True)
    report(f"{row.name} is in {home}")
    return home


def _home(row: EncoderRow) -> Path:
    return cache_dir() / "encoders" / row.name


def _problem(row: EncoderRow, directory: Path) -> str | None:
    """What is wrong with the first wrong file of a directory, or None."""
    for name, pinned in row.files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            digest = sha256_of(path)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
        if digest != pinned:
            return f"{name} has SHA-256 {digest[:12]}..., and {pinned[:12]}... is pinned"
    return None


@contextmanager
def _storage_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write {home}: {reason}; make room there, or set SAFE_EMBED_CACHE_DIR "
            "to another directory"
        ) from error


@contextmanager
def _alone(row: EncoderRow) -> Iterator[None]:
    """Lets one process at a time write this encoder, and sweeps up after one that was killed."""
    import filelock

    parent = _home(row).parent
    parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(parent / f".{row.name}.lock"):
        for left_behind in parent.glob(f".{row.name}.*.tmp"):
            shutil.rmtree(left_behind, ignore_errors=True)
        yield


def _publish(row: EncoderRow, origin: Path) -> None:
    """Puts the files of a directory in their place, all at once, if they are the pinned ones."""
    home = _home(row)
    with atomic_directory(home) as temporary:
        for name in row.files:
            if (origin / name).is_file():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link((origin / name).resolve(), temporary / name)
                except OSError:  # another file system, or one without hard links
                    shutil.copyfile(origin / name, temporary / name)
        if problem := _problem(row, temporary):
            raise EncoderError(
                f"{origin}: {problem}; it must hold the files of {row.model_id} at revision "
                f"{row.revision}"
            )
        if home.exists():  # damaged, or the lock holder would not be here
            home.rename(home.with_name(f".{row.name}.old.tmp"))
    shutil.rmtree(home.with_name(f".{row.name}.old.tmp"), ignore_errors=True)


def _bring(row: EncoderRow, staging: Path, report: Report) -> None:
    """Fills the staging directory from the first place that has the files."""
    failures: list[str] = []
    for way in (bring_from_hub, bring_from_wheel):
        if failures:
            report(failures[-1])
        try:
            return way(row, staging, report)
        except DownloadError as error:
            failures.append(str(error))
    raise DownloadError(
        f"cannot fetch the encoder {row.name}: {'; '.join(failures)}. Without a network: get the "
        f"files of {row.model_id} into a directory, and `safe-embed encoders fetch {row.name} "
        "--from DIR`, or use them in place with `--encoder DIR`"
    )
