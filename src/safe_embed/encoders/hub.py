"""The model hub: what a repository holds at a commit, and its files, over plain HTTP requests.

Not with `hf_hub_download`: that one, when the hub does not answer, tries for minutes, and it starts
a file afresh when the process was killed in the middle of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from safe_embed.encoders.catalogue import Repository
from safe_embed.errors import DownloadError
from safe_embed.secrets import secret

if TYPE_CHECKING:
    import httpx2

__all__ = ["HubFile", "Listing", "download", "hub_name", "list_repository"]

_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; the hub states a SHA-256 for large ones only."""

    name: str
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    repository: Repository
    files: tuple[HubFile, ...]


def hub_name() -> str:
    """The hub for messages, with its address."""
    from huggingface_hub import constants

    return f"the model hub at {_shown(constants.ENDPOINT)}"


def _shown(url: object) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(str(url))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def list_repository(model_id: str, revision: str = "main") -> Listing:
    """Asks the hub which files a repository has.

    Args:
        model_id: `ORG/MODEL`.
        revision: a commit, branch or tag.

    Raises:
        DownloadError: the hub cannot be reached or refuses, or there is no such model or revision.
    """
    from huggingface_hub import constants, get_session

    path = f"{quote(model_id)}/revision/{quote(revision, safe='')}"
    url = f"{constants.ENDPOINT}/api/models/{path}"
    with _hub_errors():
        response = get_session().get(
            url, params={"blobs": "true"}, headers=_headers(), timeout=_timeout()
        )
        if response.status_code != 200:
            raise _refusal(response, model_id)
        return _parse(response.json(), model_id)


def _parse(answer: Any, model_id: str) -> Listing:  # noqa: ANN401 - JSON
    try:
        files = tuple(
            HubFile(str(each["rfilename"]), (each.get("lfs") or {}).get("sha256"))
            for each in answer["siblings"]
        )
        return Listing(Repository(model_id=model_id, revision=answer["sha"]), files)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DownloadError(f"{hub_name()} answered no list of the files of {model_id}") from error


def download(repository: Repository, name: str, part: Path) -> None:
    """Appends to a partial file what is missing; a cut line is resumed while it brings bytes.

    Raises:
        DownloadError: the hub cannot be reached or refuses.
    """
    import httpx2
    from huggingface_hub import get_session, hf_hub_url

    url = hf_hub_url(repository.model_id, name, revision=repository.revision)
    client = get_session()
    reached = 0
    with _hub_errors():
        headers = {"accept-encoding": "identity", **_headers()}  # compressed ranges are of no use
        while True:
            size = part.stat().st_size if part.exists() else 0
            reached = max(reached, size)
            wanted = {**headers, "range": f"bytes={size}-"} if size else headers
            try:
                # A redirect to another host drops the token: httpx2 sees to that.
                with client.stream("GET", url, headers=wanted, timeout=_timeout()) as response:
                    if response.status_code != 416:  # else there was nothing left to send
                        _append(response, part, repository.model_id)
            except httpx2.TransportError:
                if not part.exists() or part.stat().st_size <= reached:
                    raise
            else:
                return


def _append(response: httpx2.Response, part: Path, model_id: str) -> None:
    from huggingface_hub.utils.tqdm import tqdm

    if response.status_code not in (200, 206):
        raise _refusal(response, model_id)
    resumes = response.status_code == 206
    start = part.stat().st_size if resumes else 0
    length = response.headers.get("content-length")
    on_terminal = {"disable": None, "unit": "B", "unit_scale": True}  # None: and only there
    bar: Any = tqdm(  # type: ignore[no-untyped-call]
        total=start + int(length) if length else None, initial=start, desc=part.stem, **on_terminal
    )
    with bar, part.open("ab" if resumes else "wb") as file:
        for block in response.iter_bytes():
            file.write(block)
            bar.update(len(block))


def _headers() -> dict[str, str]:
    from huggingface_hub import get_token

    own = secret("HF_TOKEN")  # also from `.env`; else the one of `hf auth login`
    token = own.reveal() if own else get_token()
    return {"authorization": f"Bearer {token}"} if token else {}


def _timeout() -> httpx2.Timeout:
    import httpx2
    from huggingface_hub import constants

    read = constants.HF_HUB_DOWNLOAD_TIMEOUT
    return httpx2.Timeout(read, connect=min(read, _CONNECT_TIMEOUT_S))


def _refusal(response: httpx2.Response, model_id: str) -> DownloadError:
    from huggingface_hub import constants

    why = response.headers.get("x-error-code", response.reason_phrase)
    hint = ""
    if response.status_code in (401, 403):
        hint = (
            f"; if its files are for those only who accept a licence, do so on "
            f"{_shown(constants.ENDPOINT)}/{model_id}, and set HF_TOKEN to a token of that account "
            "(in the environment or in .env)"
        )
    return DownloadError(f"{_shown(response.url)} answered {response.status_code} ({why}){hint}")


@contextmanager
def _hub_errors() -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise DownloadError("the model hub was not asked, as HF_HUB_OFFLINE is set") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{hub_name()} cannot be reached ({reason})") from error
