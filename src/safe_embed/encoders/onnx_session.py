"""The engine's graph as an onnxruntime session: built once, kept in the cache, and checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from safe_embed.encoders.exported import GRAPH_FILE, ExportedDir
from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.onnx_device import providers_of
from safe_embed.encoders.onnx_graph import GRAPH_VERSION, build_graph
from safe_embed.errors import EncoderError, StorageError, first_line
from safe_embed.files import atomic_directory, cache_dir, sha256_of

__all__ = [
    "digest_of",
    "graph_key",
    "largest_activations",
    "open_session",
    "usable_cores",
]

_GRAPH_FILE = "graph.onnx"
_TENSOR_FILE = "tensors.bin"
_DIGEST_FILE = "sha256.txt"
# TF32 would be faster on a GPU and is wrong from the third decimal on.


def open_session(model: ModelDir, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Opens the cached graph; builds it where there is none, or none that can be read.

    Where the cache cannot be written, the graph is built in memory each time. An export has its own
    graph, which is opened where it is.

    Args:
        model: the encoder's directory.
        device: "cpu" or "cuda".
        threads: of one batch.

    Raises:
        UnsupportedModelError: the graph of this model is not built here.
        EncoderError: the model is damaged, or there is no such device.
        InputError: `device` is neither.
    """
    providers_of(device)  # before anything is built for it
    if isinstance(model, ExportedDir):
        return _open_export(model, device, threads)
    directory = cache_dir() / "graphs" / graph_key(model)
    if directory.is_dir():
        try:
            return _open_checked(directory, device, threads)
        except Exception:  # noqa: BLE001 - damaged in whatever way
            shutil.rmtree(directory, ignore_errors=True)
    try:
        _build_into(directory, model)
        return _open_checked(directory, device, threads)
    except EncoderError:
        raise
    except Exception:  # noqa: BLE001 - not writable, or a damaged one could not be replaced
        graph = _build_in_memory(model)
    try:
        return _open(graph, device, threads)
    except Exception as error:
        raise EncoderError(
            f"{model.path}: onnxruntime cannot load the graph ({first_line(error)})"
        ) from error


def _open_export(model: ExportedDir, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Opens the graph of an export, and meanwhile checks all of its files."""
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            found = pool.submit(lambda: {n: sha256_of(model.path / n) for n in model.digests})
            session = _open(str(model.path / GRAPH_FILE), device, threads)
        damaged = [name for name, digest in found.result().items() if digest != model.digests[name]]
    except Exception as error:
        raise EncoderError(
            f"{model.path}: the export cannot be opened ({first_line(error)}); export it again"
        ) from error
    if damaged:
        raise EncoderError(
            f"{model.path / damaged[0]} is not the file that was exported: its SHA-256 differs; "
            "export the encoder again"
        )
    return session


def largest_activations(
    graph: Path, names: Sequence[str], batches: Iterable[NDArray[np.int64]]
) -> dict[str, NDArray[np.float32]]:
    """The largest absolute value in each column of some activations.

    Args:
        graph: a file whose outputs are these activations, each of shape (tokens, columns).
        names: of the activations.
        batches: token ids, each of shape (batch, length).

    Returns:
        By name, float32 of shape (columns,).
    """
    session = _open(str(graph), "cpu", usable_cores())
    largest: dict[str, NDArray[np.float32]] = {}
    for ids in batches:
        for name, values in zip(names, session.run(names, {"input_ids": ids}), strict=True):
            by_column = np.abs(values).max(axis=0)
            largest[name] = np.maximum(largest.get(name, by_column), by_column)
    return largest


def usable_cores() -> int:
    """Cores that this process may use; two hardware threads of one core count once."""
    numbers = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    cores = set()
    for number in numbers:
        path = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text("ascii"))
        except OSError:  # not Linux, or hidden from this process
            cores.add(str(number))
    return max(1, len(cores))


def _open_checked(directory: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Opens a cached graph, and meanwhile checks that its files are as they were written."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        digests = pool.submit(_digests, directory)
        session = _open(str(directory / _GRAPH_FILE), device, threads)
    if digests.result() != (directory / _DIGEST_FILE).read_text("utf-8"):
        raise StorageError(f"{directory}: damaged")
    return session


def _digests(directory: Path) -> str:
    """The lines that `sha256sum` would print."""
    return "".join(f"{sha256_of(directory / n)}  {n}\n" for n in (_GRAPH_FILE, _TENSOR_FILE))


def _open(source: str | bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Our graph is as fast without onnxruntime's optimiser, loads sooner, and stays as written: the
    # optimiser reorders the sum of the mean pooling, which then depends on the batch.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what fails is raised, and told as an EncoderError
    return onnxruntime.InferenceSession(source, options, providers=providers_of(device))


def _build_into(directory: Path, model: ModelDir) -> None:
    import onnx  # not for a cached graph: it would cost a third of the start

    with atomic_directory(directory) as temporary:
        onnx.save_model(
            build_graph(model),
            str(temporary / _GRAPH_FILE),
            save_as_external_data=True,
            location=_TENSOR_FILE,
        )
        # onnx makes it private, and the cache may be shared.
        (temporary / _TENSOR_FILE).chmod((temporary / _GRAPH_FILE).stat().st_mode)
        (temporary / _DIGEST_FILE).write_text(_digests(temporary), "utf-8")


def _build_in_memory(model: ModelDir) -> bytes:
    graph = build_graph(model)
    try:
        serialized: bytes = graph.SerializeToString()
    except Exception as error:  # protobuf's limit of 2 GiB; its errors differ between versions
        raise EncoderError(
            f"{model.path}: too large to run without a cache on disk; set SAFE_EMBED_CACHE_DIR to "
            "a directory that can be written"
        ) from error
    return serialized


def graph_key(model: ModelDir) -> str:
    """64 hex digits that change whenever the graph of a model does."""
    if isinstance(model, ExportedDir):
        return digest_of({"export": dict(model.digests)})
    settings = {
        "graph_version": GRAPH_VERSION,
        "weights": model.weights_digest,
        "config": dict(model.config),
        "pooling": model.pooling,
    }
    if model.adapter is not None:  # without one, indexes that exist keep their fingerprint
        settings["adapter"] = model.adapter.digest
    return digest_of(settings)


def digest_of(settings: dict[str, Any]) -> str:
    """64 hex digits of settings that JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
