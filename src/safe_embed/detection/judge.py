"""Scores prompts by their worst piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.evidence import Evidence
from safe_embed.detection.heads import Heads
from safe_embed.detection.index import embed
from safe_embed.detection.prepare import Piece, PreparedPrompt
from safe_embed.detection.scorers import Scorer
from safe_embed.detection.scoring import SLACK, Found, category_weights, gather
from safe_embed.encoders.base import Encoder
from safe_embed.stores.base import ExemplarStore

__all__ = ["Judge", "Scored"]

_PIECES_AT_ONCE = 4096  # bounds the memory for neighbours; batches of the encoder stay full


@dataclass(frozen=True)
class Scored:
    """Prompts, each with the piece that has the largest raw score."""

    prompts: tuple[PreparedPrompt, ...]
    raw: NDArray[np.float64]
    """Shape (n,), of the piece."""
    pieces: tuple[Piece, ...]
    found: Found
    """Of these pieces, row by row."""

    def categories(self) -> list[dict[str, float]]:
        """Weights of the categories of harm of each prompt, largest first."""
        return [
            category_weights(exemplars, row)
            for exemplars, row in zip(self.found.unsafe, self.found.evidence.unsafe, strict=True)
        ]


@dataclass(frozen=True)
class Judge:
    """All that a raw score depends on."""

    store: ExemplarStore
    encoder: Encoder
    scorer: Scorer
    average: float
    heads: Heads

    def score(
        self, prompts: Sequence[PreparedPrompt], *, leave_out: frozenset[str] = frozenset()
    ) -> Iterator[Scored]:
        """Scores prompts, some thousand pieces at a time, in order.

        Args:
            prompts: as `prepare` makes them.
            leave_out: prompts of these texts are scored as if they were no exemplars.

        Raises:
            InputError: the index lacks a label that the scorer needs.
        """
        start = 0
        while start < len(prompts):
            end, n = start, 0
            while end < len(prompts) and (end == start or n < _PIECES_AT_ONCE):
                n += len(prompts[end].pieces)
                end += 1
            yield self._score(tuple(prompts[start:end]), leave_out)
            start = end

    def _score(self, prompts: tuple[PreparedPrompt, ...], leave_out: frozenset[str]) -> Scored:
        pieces = [piece for prompt in prompts for piece in prompt.pieces]
        vectors = embed(self.encoder, [piece.text for piece in pieces])
        left_out = None
        if leave_out:
            left_out = [
                prompt.text if prompt.text in leave_out else None
                for prompt in prompts
                for _ in prompt.pieces
            ]
        found = gather(
            self.store,
            vectors,
            self.scorer,
            average=self.average,
            head=self.heads.logits(vectors, left_out),
            leave_out=left_out,
        )
        raw = self.scorer.score(found.evidence)
        best = []
        start = 0
        for prompt in prompts:
            own = raw[start : start + len(prompt.pieces)]
            # The first of those that only rounding tells apart, so that the same piece is shown.
            best.append(start + int(np.argmax(own >= own.max() - SLACK)))
            start += len(prompt.pieces)
        return Scored(prompts, raw[best], tuple(pieces[row] for row in best), _rows(found, best))


def _rows(found: Found, rows: list[int]) -> Found:
    evidence = found.evidence
    return replace(
        found,
        evidence=Evidence(evidence.unsafe[rows], evidence.safe[rows], evidence.head[rows]),
        unsafe=tuple(found.unsafe[row] for row in rows),
        safe=tuple(found.safe[row] for row in rows),
    )
