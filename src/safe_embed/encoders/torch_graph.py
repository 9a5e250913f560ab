"""The graph of an encoder that the graph builder does not know, by torch's own exporter."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safe_embed.errors import EncoderError, MissingExtraError, first_line

if TYPE_CHECKING:
    import onnx
    from sentence_transformers import SentenceTransformer

__all__ = ["TorchGraph", "trace"]

_EXAMPLE = (2, 7)  # batch and length of the ids that are traced; both stay free
_OUTPUT = "safe_embed_embedding"
_LONGEST = 512  # where neither the model nor its tokenizer states a limit


@dataclass(frozen=True, kw_only=True)
class TorchGraph:
    """What an export needs of a sentence-transformers model.

    Args:
        graph: input `input_ids`, int64 of shape (batch, length), none padded; output `embedding`,
            float32 of shape (batch, d), rows of length 1.
        tokenizer: content of tokenizer.json.
        model_type: of the transformer's configuration.
        pooling: names of the modes.
        max_tokens: longer texts are cut.
        lower_case: texts are lower-cased first.
        prompt: put before each text.
    """

    graph: onnx.ModelProto
    tokenizer: str
    model_type: str
    pooling: str
    max_tokens: int
    lower_case: bool
    prompt: str


def trace(model: SentenceTransformer, prompt: str | None) -> TorchGraph:
    """Traces a model on the CPU.

    Args:
        model: a transformer and the modules after it.
        prompt: put before each text, in place of the model's own; None for that one.

    Raises:
        MissingExtraError: onnxscript, which torch's exporter is written with, is not installed.
        EncoderError: the model has no fast tokenizer, or torch cannot export it.
    """
    try:
        import onnxscript  # noqa: F401 - an extra; torch imports it late and says less
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", needed_for="torch's exporter") from error
    transformer: Any = model[0]
    tokenizer = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    if tokenizer is None or not hasattr(transformer, "auto_model"):
        raise EncoderError("the model has no fast tokenizer, so it cannot be exported")
    if any(not getattr(module, "include_prompt", True) for module in model):
        raise EncoderError("pooling that leaves the prompt out cannot be exported")

    class FromIds(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        """Token ids to embeddings: what `SentenceTransformer.encode` does with one batch."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            features = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
            embedding = self.inner(features)["sentence_embedding"]
            return torch.nn.functional.normalize(embedding, dim=-1)

    ids = torch.ones(_EXAMPLE, dtype=torch.int64)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    transformer.auto_model.set_attn_implementation("eager")
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                FromIds().eval(),
                (ids,),
                dynamo=True,
                input_names=["input_ids"],
                output_names=[_OUTPUT],
                dynamic_shapes={"input_ids": free},
            )
    except Exception as error:  # whatever the exporter, the model and what lies between raise
        reason = first_line(error)
        raise EncoderError(f"torch cannot export this model: {reason}") from error
    config = transformer.auto_model.config
    prompts, default = model.prompts or {}, model.default_prompt_name
    return TorchGraph(
        graph=_with_output_named_embedding(program.model_proto),  # type: ignore[union-attr]
        tokenizer=json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False),
        model_type=str(config.model_type),
        pooling=_pooling(model),
        max_tokens=int(model.max_seq_length or _LONGEST),
        lower_case=bool(getattr(transformer, "do_lower_case", False)),
        prompt=prompt if prompt is not None else prompts.get(default or "") or "",
    )


def _with_output_named_embedding(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Renames the output; torch gives the name to an inner value too where it is free."""
    new_names = {"embedding": "inner_embedding", _OUTPUT: "embedding"}
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new_names.get(name, name)
    graph.graph.output[0].name = "embedding"
    return graph


def _pooling(model: SentenceTransformer) -> str:
    modes = [each.pooling_mode for each in model if hasattr(each, "pooling_mode")]
    return " and ".join(map(str, modes)) or "the model's own"


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its steps on stdout, which is for results."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
