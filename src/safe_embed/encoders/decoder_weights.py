"""A decoder language model from its directory: checked for memory, complete, and silent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safe_embed.errors import EncoderError, InputError, MissingExtraError, first_line

__all__ = ["check_before_fetching", "load_decoder", "quiet_transformers"]

_MARGIN = 1.2  # memory beside the weights: activations, the framework
_CGROUP = Path("/sys/fs/cgroup")


def load_decoder(directory: Path, device: str, dtype: str) -> tuple[Any, Any]:
    """Loads the tokenizer and the decoder without its language-model head, ready to run.

    Args:
        directory: as transformers saves it, with safetensors weights in one file or several.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16"; the weights are converted to it.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        InputError: there is no such kind of device.
        EncoderError: weights are missing or damaged, or do not fit into memory.
    """
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise MissingExtraError("torch", needed_for="an LLM2Vec encoder") from None
    if device not in ("cpu", "cuda"):
        raise InputError(f"device must be one of cpu, cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError("device 'cuda': torch sees no GPU; use the device 'cpu'")
    _require_memory(directory, dtype, device)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model, report = AutoModel.from_pretrained(
                directory,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # whatever the libraries below it raise
        first = first_line(error)
        raise EncoderError(f"{directory}: transformers cannot load it ({first})") from error
    if missing := sorted(report["missing_keys"]):  # transformers would make them up at random
        raise EncoderError(
            f"{directory}: {len(missing)} weights are missing, the first is {missing[0]}; fetch "
            "the model again"
        )
    return tokenizer, model.to(device).eval()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, and no report on the language-model head, which an encoder has not."""
    logging = import_module("transformers.utils.logging")  # an extra, and without types
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _require_memory(directory: Path, dtype: str, device: str) -> None:
    """Says before loading that the weights do not fit.

    Raises:
        EncoderError: tells how much is needed and how much is there.
    """
    stored = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    config = directory / "config.json"
    try:
        settings = dict(json.loads(config.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(f"{config}: cannot be read ({error}); fetch the model again") from None
    stored_type = settings.get("torch_dtype", settings.get("dtype", "float32"))
    bytes_stored = 4 if stored_type == "float32" else 2
    _compare_with_free(stored / bytes_stored, directory.name, dtype, device)


def check_before_fetching(name: str, n_parameters: float, dtype: str, device: str) -> None:
    """Says before gigabytes are downloaded that they could not be used.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        EncoderError: tells how much memory is needed and how much is there.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtraError("torch", needed_for="an LLM2Vec encoder")
    _compare_with_free(n_parameters, name, dtype, device)


def _compare_with_free(n_parameters: float, name: str, dtype: str, device: str) -> None:
    needed = _MARGIN * n_parameters * (4 if dtype == "float32" else 2)
    free = _free_memory(device)
    if free is not None and needed > free:
        raise EncoderError(
            f"{name} needs about {needed / 1e9:.1f} GB of memory as {dtype}, "
            f"{free / 1e9:.1f} GB are free on {device}; use a machine with more, embed there, and "
            "evaluate here with --encoder file:EMBEDDINGS"
        )


def _free_memory(device: str) -> float | None:
    """Bytes; None where the platform does not tell."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        try:
            return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            return None
    fields = dict(line.split(":") for line in lines)
    return min(float(fields["MemAvailable"].split()[0]) * 1024, _free_in_container(_CGROUP))


def _free_in_container(cgroup: Path) -> float:
    """Bytes that a control group (version 2) still grants; infinite where it sets no limit."""
    try:
        limit = (cgroup / "memory.max").read_text("ascii").strip()
        used = float((cgroup / "memory.current").read_text("ascii"))
        stat = dict(
            line.split() for line in (cgroup / "memory.stat").read_text("ascii").splitlines()
        )
    except (OSError, ValueError):
        return math.inf
    # Cached files count as used, and are given up when memory is asked for.
    return math.inf if limit == "max" else float(limit) - used + float(stat.get("inactive_file", 0))
