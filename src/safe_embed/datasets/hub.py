"""Data sets of the hub by name, through the Parquet files that it keeps of them.

The hub converts data sets to Parquet, in a branch of their repository. Its list of the files of a
commit states their SHA-256, so that what is fetched is checked as a pinned file is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from safe_embed.datasets.download import Progress, download
from safe_embed.datasets.hub_splits import (
    HUB_PREFIX,
    HubFile,
    HubListing,
    HubName,
    choose_split,
)
from safe_embed.errors import DownloadError, InputError
from safe_embed.files import atomic_file, data_dir
from safe_embed.secrets import secret

if TYPE_CHECKING:
    import httpx2

__all__ = ["HubSplit", "fetch_split"]

_CONVERTED: Final = "refs/convert/parquet"
_BRANCHES: Final = (_CONVERTED, "main")
"""Where Parquet files are looked for when no revision is named; `main` where nothing converts."""

_CONNECT_TIMEOUT_S: Final = 5.0
_LISTING_NAME: Final = "listing.json"
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_PATH: Final = re.compile(r"(?!.*(^|/)\.)[\w.+=, -]+(/[\w.+=, -]+)*\.parquet")
"""Paths that can be kept as they are: no part starts with a dot, none is empty."""


@dataclass(frozen=True, slots=True)
class HubSplit:
    """One split on this machine."""

    name: str
    """With commit, configuration and split: names the same files for ever."""
    paths: tuple[Path, ...]


def fetch_split(
    name: HubName,
    directory: Path | None = None,
    *,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda _message: None,
) -> HubSplit:
    """Fetches the files of one split, unless they are there already.

    A split that is named with its commit, and was fetched before, needs no network.

    Args:
        name: a configuration and split that are left open are taken where there is only one.
        directory: where data sets are kept; the user's data directory where None.
        progress: is told the bytes of each file that are there and their total.
        report: is told the name by which this very split is found again.

    Raises:
        DownloadError: the hub cannot be reached or refuses, or a file is not what its list says.
        InputError: the data set has no Parquet files, or not this split, or several to choose from.
        StorageError: the files cannot be written.
    """
    place = (directory or data_dir()) / "hub" / name.repository
    known = _known(place, name)
    listing = known or _asked(name)
    config, split, files = choose_split(name, listing)
    root = place / listing.commit
    if known is None:
        with atomic_file(root / _LISTING_NAME) as temporary:
            temporary.write_text(listing.model_dump_json(indent=1), encoding="utf-8")
    paths = tuple(_fetched(name, listing.commit, file, root, progress) for file in files)
    full = f"{HUB_PREFIX}{name.repository}@{listing.commit}:{config}/{split}"
    if name.revision != listing.commit:
        report(f"{HUB_PREFIX}{name.repository} is taken as {full}")
    return HubSplit(full, paths)


def _known(place: Path, name: HubName) -> HubListing | None:
    """The list that was kept of a commit, where that is named."""
    if name.revision is None or not _COMMIT.fullmatch(name.revision):
        return None
    try:
        text = (place / name.revision / _LISTING_NAME).read_text("utf-8")
        return HubListing.model_validate_json(text)
    except (OSError, ValidationError):
        return None  # it is asked for again


def _asked(name: HubName) -> HubListing:
    from huggingface_hub.errors import RevisionNotFoundError

    for revision in (name.revision,) if name.revision else _BRANCHES:
        with _hub_errors(name):
            try:
                listing = _listed(name.repository, revision)
            except RevisionNotFoundError:
                if name.revision is None:
                    continue
                raise
        if listing.files:
            return listing
    raise InputError(
        f"data set {name.repository} has no Parquet files on the hub"
        + (f" at {name.revision}" if name.revision else "")
        + "; download a file of it, and name that"
    )


def _listed(repository: str, revision: str) -> HubListing:
    from huggingface_hub import HfApi

    api = HfApi(token=_token())
    info = api.dataset_info(
        repository, revision=revision, files_metadata=True, timeout=_CONNECT_TIMEOUT_S * 2
    )
    if not _COMMIT.fullmatch(info.sha or ""):
        raise DownloadError(f"the hub answered no list of the files of {repository}; try again")
    files = tuple(
        HubFile(path=one.rfilename, sha256=one.lfs.sha256 if one.lfs else None, size=one.size)
        for one in info.siblings or ()
        if _PATH.fullmatch(one.rfilename)
    )
    return HubListing(commit=info.sha or "", files=files)


def _fetched(
    name: HubName, commit: str, file: HubFile, root: Path, progress: Progress | None
) -> Path:
    from huggingface_hub import hf_hub_url

    if file.sha256 is None:
        raise DownloadError(
            f"the hub states no SHA-256 for {file.path} of {name.repository}; download it "
            "yourself, and name the file"
        )
    url = hf_hub_url(name.repository, file.path, repo_type="dataset", revision=commit)
    remedy = (
        "if its files are for those only who accept a licence, do so on the page of "
        f"{name.repository}, and set HF_TOKEN to a token of that account (in the environment or "
        "in .env)"
    )
    target = root / file.path
    with _client() as client:
        return download(
            url,
            target,
            file.sha256,
            size=file.size,
            client=client,
            progress=progress,
            refused=remedy,
        )


@contextmanager
def _client() -> Iterator[httpx2.Client]:
    import httpx2
    from huggingface_hub import constants

    token = _token()
    read = constants.HF_HUB_DOWNLOAD_TIMEOUT
    timeout = httpx2.Timeout(read, connect=min(read, _CONNECT_TIMEOUT_S))
    # A redirect to another host drops the token: httpx2 sees to that.
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx2.Client(timeout=timeout, follow_redirects=True, headers=headers) as client:
        yield client


def _token() -> str | None:
    from huggingface_hub import get_token

    own = secret("HF_TOKEN")  # also from `.env`; else the one of `hf auth login`
    return own.reveal() if own else get_token()


@contextmanager
def _hub_errors(name: HubName) -> Iterator[None]:
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    parts = urlsplit(str(constants.ENDPOINT))
    hub = "the hub at " + urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        yield
    except OfflineModeIsEnabled:
        raise DownloadError(
            "the hub was not asked, as HF_HUB_OFFLINE is set; a split that is here already can be "
            "named with its commit"
        ) from None
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"data set {name.repository} has no revision {name.revision!r}"
        ) from error
    except HFValidationError as error:
        raise InputError(f"{name.repository!r} cannot be a data set of the hub: {error}") from error
    except HfHubHTTPError as error:
        raise DownloadError(
            f"{hub} answered {error.response.status_code} for the data set {name.repository}: "
            "check its name; where it is private or gated, set HF_TOKEN to a token of an account "
            "that may read it (in the environment or in .env)"
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{hub} cannot be reached ({reason})") from error
