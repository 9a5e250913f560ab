"""What the folder that `safe-embed export` wrote says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safe_embed.encoders.modeldir import ModelDir
from safe_embed.errors import EncoderError

__all__ = ["EXPORT_FILE", "GRAPH_FILE", "TENSOR_FILE", "TOKENIZER_FILE", "ExportedDir"]

EXPORT_FILE = "export.json"
GRAPH_FILE = "model.onnx"
TENSOR_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class ExportedDir(ModelDir):
    """A folder with a finished graph; the rest is that of a model directory.

    Args:
        digests: SHA-256 of the graph, its tensors and the tokenizer, by file name.
    """

    digests: Mapping[str, str]

    @classmethod
    def recognizes(cls, directory: Path) -> bool:
        """Whether the folder is an export of safe-embed."""
        return (directory / EXPORT_FILE).is_file() and (directory / GRAPH_FILE).is_file()

    @classmethod
    def read(cls, directory: Path) -> ExportedDir:
        """Reads export.json; the files are checked against it when the graph is opened.

        Raises:
            EncoderError: export.json is damaged.
        """
        path = directory / EXPORT_FILE
        try:
            facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
            digests = facts["sha256"]
            return cls(
                path=directory,
                config={},
                model_type=str(facts["architecture"]),
                dimension=int(facts["dimension"]),
                pooling=facts["pooling"],
                max_tokens=int(facts["max_tokens"]),
                lower_case=bool(facts["lower_case"]),
                prompt=str(facts["prompt"]),
                weights_digest=str(facts["weights_sha256"]),
                tokenizer_digest=digests[TOKENIZER_FILE],
                digests={
                    name: str(digests[name]) for name in (GRAPH_FILE, TENSOR_FILE, TOKENIZER_FILE)
                },
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EncoderError(f"{path}: damaged ({error!r}); export the encoder again") from error
