"""An encoder's average similarity on two disjoint samples of prompts (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.errors import InputError
from safe_embed.metrics import AverageSimilarity, average_similarity
from safe_embed.records import Prompt

__all__ = ["BaselinePrompts", "measure_average_similarity", "split_head_tail"]

MAX_SAMPLE = 500  # prompts in each sample, as in the paper
_SPLIT_SEED = 42


@dataclass(frozen=True)
class BaselinePrompts:
    """Two disjoint samples of arbitrary prompts, and the name of where they come from."""

    name: str
    head: tuple[str, ...]
    tail: tuple[str, ...]


def split_head_tail(name: str, prompts: Sequence[Prompt]) -> BaselinePrompts:
    """Draws two disjoint samples of equal size, at most 500 each.

    The split is part of the definition, so its seed is fixed: an encoder's average similarity on
    given prompts does not change with the seed of a run.

    Raises:
        InputError: there are fewer than 4 distinct prompts.
    """
    texts = sorted({prompt.text for prompt in prompts})
    if len(texts) < 4:
        raise InputError(
            f"an average similarity needs at least 4 distinct prompts, {name} has {len(texts)}"
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(texts))
    size = min(len(texts) // 2, MAX_SAMPLE)
    return BaselinePrompts(
        name=name,
        head=tuple(texts[row] for row in order[:size]),
        tail=tuple(texts[row] for row in order[size : 2 * size]),
    )


def measure_average_similarity(
    encoder: Encoder,
    prompts: BaselinePrompts,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> AverageSimilarity:
    """Embeds both samples and averages the cosine over all pairs (head, tail).

    Args:
        encoder: any encoder.
        prompts: as `split_head_tail` or a suite gives them.
        seed: of the bootstrap interval.
        progress: called while texts are embedded.
    """
    embedded = EmbeddedTexts.embed(encoder, prompts.head + prompts.tail, progress=progress)
    return average_similarity(embedded.of(prompts.head), embedded.of(prompts.tail), seed=seed)
