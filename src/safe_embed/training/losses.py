"""The losses, on the embeddings of one batch.

With u the embeddings, z = logit_scale u w + b the log-odds of the head, and y = 1 for unsafe:

- classification: binary cross-entropy of z, so that one plane parts unsafe from safe;
- pair rank: softplus(z of the safe twin - z of the unsafe twin), so that look-alikes are told apart
  whatever their topic adds to both;
- twin similarity: mean cosine of twins, the boundary that Safety-Challenging and Safety-Contrast
  measure;
- contrastive: supervised contrastive loss (Khosla et al. 2020, equation 2) in which each of the 12
  categories of harm is a class of its own and safe prompts are negatives only, which is what
  Categorical Purity and a search for neighbours ask for;
- distillation: mean squared difference between cosines and those of the base, over all pairs that
  the other losses do not speak of, so that general similarity is kept and the average stays low.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from safe_embed.training.recipe import Recipe

__all__ = ["BatchLabels", "Losses", "batch_losses"]

_NEVER = -1e9


@dataclass(frozen=True)
class BatchLabels:
    """What is known of a batch of n texts.

    Args:
        unsafe: float of shape (n,), 1 for unsafe.
        category: int of shape (n,), a number for each category of harm; -1 for none.
        n_pairs: the first n_pairs rows are unsafe twins, the next n_pairs their safe twins.
    """

    unsafe: torch.Tensor
    category: torch.Tensor
    n_pairs: int


@dataclass(frozen=True)
class Losses:
    """The losses of a batch, before they are weighted."""

    classification: torch.Tensor
    pair_rank: torch.Tensor
    twin_similarity: torch.Tensor
    contrastive: torch.Tensor
    distillation: torch.Tensor

    def total(self, recipe: Recipe) -> torch.Tensor:
        """What is minimised."""
        return (
            self.classification
            + recipe.pair_rank * self.pair_rank
            + recipe.twin_similarity * self.twin_similarity
            + recipe.contrastive * self.contrastive
            + recipe.distillation * self.distillation
        )


def batch_losses(
    embeddings: torch.Tensor,
    logits: torch.Tensor,
    base_cosines: torch.Tensor,
    labels: BatchLabels,
    temperature: float,
) -> Losses:
    """Computes the losses.

    Args:
        embeddings: shape (n, d), rows of length 1.
        logits: shape (n,).
        base_cosines: cosines of the frozen base, shape (n, n).
        labels: of the batch.
        temperature: of the contrastive loss.
    """
    n, p = len(embeddings), labels.n_pairs
    zero = logits.sum() * 0
    cosines = embeddings @ embeddings.T
    diagonal = torch.eye(n, dtype=torch.bool, device=cosines.device)
    same = (labels.category[:, None] == labels.category[None]) & (labels.category[:, None] >= 0)
    same &= ~diagonal
    free = ~same & ~diagonal
    row = torch.arange(p, device=cosines.device)
    free[row, row + p] = False
    free[row + p, row] = False
    rank = functional.softplus(logits[p : 2 * p] - logits[:p]).mean() if p else zero
    twins = cosines[row, row + p].mean() if p else zero
    return Losses(
        classification=functional.binary_cross_entropy_with_logits(logits, labels.unsafe),
        pair_rank=rank,
        twin_similarity=twins,
        contrastive=_contrastive(cosines / temperature, same, diagonal) if same.any() else zero,
        distillation=((cosines - base_cosines)[free] ** 2).mean() if free.any() else zero,
    )


def _contrastive(scaled: torch.Tensor, same: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    log_share = scaled - torch.logsumexp(scaled.masked_fill(diagonal, _NEVER), dim=1, keepdim=True)
    has_peers = same.any(dim=1)
    of_peers = (log_share * same).sum(dim=1)[has_peers] / same.sum(dim=1)[has_peers]
    return -of_peers.mean()
