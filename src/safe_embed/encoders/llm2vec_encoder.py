"""LLM2Vec: a decoder language model made an encoder (BehnamGhader et al. 2024, arXiv 2404.05961).

Every token attends to every other, LoRA adapters are merged into the weights in order, and the
states of the text's own tokens are averaged. Needs the extra `torch`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.decoder_weights import load_decoder
from safe_embed.encoders.lora import merge_lora, read_lora
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, InputError
from safe_embed.files import sha256_of
from safe_embed.vectors import normalize_rows

if TYPE_CHECKING:
    import torch

__all__ = ["LLM2VecEncoder"]

_MAX_TEXT_TOKENS = 400  # of the text alone; longer ones lose words, as the reference does it
_TOKENS_PER_BATCH = 2048
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
# What is put before and after a text: the chat format that the base model was tuned with.
_FORMATS = {
    "mistral": ("[INST] ", " [/INST]"),
    "llama": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
}


class LLM2VecEncoder:
    """A Mistral or Llama decoder with adapters, as a sentence encoder.

    Batches hold texts of one token length, so nothing is padded.

    Args:
        directory: the base model, as transformers saves it.
        adapters: directories of LoRA adapters, merged in this order.
        name: for tables and file names.
        published_average_similarity: the paper's value for this encoder, if it has one.
        device: "cpu" or "cuda".
        batch_size: most texts in one batch; by default 2,048 tokens.
        dtype: "float32" or "bfloat16", of the weights.
        instruction: put before each text; its tokens are left out of the mean.
        max_tokens: longer inputs are cut to this many tokens.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        EncoderError: the model cannot be loaded, or does not fit into memory.
        InputError: an option has a value that cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the catalogue row
        self,
        directory: Path,
        *,
        adapters: Sequence[Path] = (),
        name: str,
        published_average_similarity: float | None = None,
        device: str = "cpu",
        batch_size: int | None = None,
        dtype: str = "float32",
        instruction: str = "",
        max_tokens: int = 512,
    ) -> None:
        if dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype must be float32 or bfloat16, got {dtype!r}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {batch_size}")
        self._tokenizer, self._model = load_decoder(directory, device, dtype)
        for adapter in adapters:
            merge_lora(self._model, read_lora(adapter))
        model_type = self._model.config.model_type
        if model_type not in _FORMATS:
            raise EncoderError(
                f"{directory}: a decoder of type {model_type!r} is not supported; "
                f"known: {', '.join(_FORMATS)}"
            )
        self._before, self._after = _FORMATS[model_type]
        self._name = name
        self._published_average_similarity = published_average_similarity
        self._batch_size = batch_size
        self._instruction = instruction.strip()
        self._max_tokens = max_tokens
        before = len(self._tokenizer(self._prefix())["input_ids"])
        if max_tokens <= before:
            raise InputError(
                f"max_tokens must be more than the {before} tokens that are put before a text, "
                f"got {max_tokens}"
            )
        settings = [model_type, dtype, self._instruction, max_tokens, self._before, self._after]
        self._fingerprint = _fingerprint([directory, *adapters], settings)

    @property
    def name(self) -> str:
        """Name for tables and file names."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the files of the base model and the adapters, and the settings."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return int(self._model.config.hidden_size)

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        return self._published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
            EncoderError: a single text does not fit into memory.
        """
        token_ids = [self._token_ids(text) for text in checked_texts(texts)]
        vectors = np.empty((len(token_ids), self.dimension), dtype=np.float32)
        for rows in self._batches([len(ids) for ids, _ in token_ids]):
            vectors[rows] = self._encode_halving([token_ids[row] for row in rows])
        return normalize_rows(vectors)

    def _token_ids(self, text: str) -> tuple[list[int], int]:
        """Token ids of the whole input, and how many of the last belong to the text."""
        kept = self._shortened(text.strip())
        whole = self._tokenizer(f"{self._prefix()}{kept}{self._after}")["input_ids"]
        # Counted before the cut, which takes tokens from the end, so that none of the instruction
        # gets into the mean.
        before = len(whole) - self._count(f"{kept}{self._after}")
        cut = whole[: self._max_tokens]
        return cut, min(max(1, len(cut) - before), len(cut))

    def _prefix(self) -> str:
        return f"{self._before}{self._instruction} " if self._instruction else self._before

    def _shortened(self, text: str) -> str:
        while (count := self._count(text)) > _MAX_TEXT_TOKENS:
            words = text.split()
            keep = int(len(words) * _MAX_TEXT_TOKENS / count)
            # One word of thousands of tokens cannot be cut between words.
            text = " ".join(words[:keep]) if keep else text[: len(text) // 2]
        return text

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            by_length.setdefault(length, []).append(row)
        for length, rows in by_length.items():
            size = self._batch_size or max(1, _TOKENS_PER_BATCH // length)
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    def _encode_halving(self, batch: list[tuple[list[int], int]]) -> NDArray[np.float32]:
        """Embeds a batch; one that does not fit into memory is halved, not lost."""
        try:
            return self._encode_batch(batch)
        except (MemoryError, RuntimeError) as error:
            known = any(words in str(error) for words in _OUT_OF_MEMORY)
            if not known and not isinstance(error, MemoryError):
                raise
            if len(batch) == 1:
                raise EncoderError(
                    f"{self._name}: a text of {len(batch[0][0])} tokens does not fit into memory"
                ) from error
        half = len(batch) // 2
        return np.concatenate(
            [self._encode_halving(batch[:half]), self._encode_halving(batch[half:])]
        )

    def _encode_batch(self, batch: list[tuple[list[int], int]]) -> NDArray[np.float32]:
        import torch

        states = self.token_states([ids for ids, _ in batch])
        means = [
            state[-own:].float().mean(dim=0) for state, (_, own) in zip(states, batch, strict=True)
        ]
        vectors: NDArray[np.float32] = torch.stack(means).cpu().numpy()
        return vectors

    def token_states(self, token_ids: list[list[int]]) -> torch.Tensor:
        """Last states of inputs of one length, shape (n, length, d).

        A mask of four dimensions is taken as it is by the attention, in place of the causal one:
        all zeros, nothing is hidden.
        """
        import torch

        ids = torch.tensor(token_ids, device=self._model.device)
        n, length = ids.shape
        mask = torch.zeros((n, 1, length, length), dtype=self._model.dtype, device=ids.device)
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask, use_cache=False)
        states: torch.Tensor = output.last_hidden_state
        return states


def _fingerprint(directories: Sequence[Path], settings: list[Any]) -> str:
    digests = [
        (path.name, sha256_of(path))
        for directory in directories
        for path in sorted(directory.glob("*"))
        if path.suffix in (".json", ".safetensors", ".model") and path.name != "safe-embed.json"
    ]
    text = json.dumps(["llm2vec", 1, settings, digests])
    return hashlib.sha256(text.encode()).hexdigest()
