"""A logistic regression fitted by Newton's method: the head on the embedding, and Platt scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError

__all__ = ["LogisticHead", "fit_logistic"]

Numbers = NDArray[np.float64]

_MAX_STEPS = 100
_MAX_HALVINGS = 30
_CONVERGED = 1e-10  # decrease of the mean loss


@dataclass(frozen=True)
class LogisticHead:
    """Log-odds that are linear in the features: `features @ weights + bias`.

    Args:
        weights: float64 of shape (d,).
        bias: a number.
    """

    weights: Numbers
    bias: float

    def logits(self, features: NDArray[np.float32] | Numbers) -> Numbers:
        """Log-odds of being unsafe, float64 of shape (n,), for features of shape (n, d)."""
        return np.asarray(features.astype(np.float64) @ self.weights + self.bias)


def fit_logistic(
    features: NDArray[np.float32] | Numbers,
    targets: Numbers,
    *,
    strength: float,
    weights: Numbers | None = None,
) -> LogisticHead:
    """Minimises sum of w * log loss + |coefficients|^2 / (2 * strength); the bias is free.

    The loss is convex, so its one minimum does not hang on a seed.

    Args:
        features: shape (n, d).
        targets: probabilities in [0, 1], shape (n,), not all 0 and not all 1.
        strength: inverse strength of the penalty, above 0 (the `C` of scikit-learn).
        weights: weight of each row, shape (n,); 1 each when None.

    Raises:
        InputError: all targets are 0, or all are 1.
    """
    if not len(targets) or targets.max() == 0 or targets.min() == 1:
        raise InputError("a logistic regression needs both unsafe and safe prompts; add the others")
    x = np.column_stack([features.astype(np.float64), np.ones(len(features))])
    w = np.ones(len(x)) if weights is None else weights
    penalty = np.r_[np.full(x.shape[1] - 1, 1 / strength), 1e-9]  # keeps the Hessian regular

    def loss(beta: Numbers) -> float:
        logits = x @ beta
        each = np.logaddexp(0, logits) - targets * logits
        return float(w @ each + 0.5 * penalty @ beta**2) / len(x)

    beta = np.zeros(x.shape[1])
    current = loss(beta)
    for _ in range(_MAX_STEPS):
        p = _sigmoid(x @ beta)
        gradient = x.T @ (w * (p - targets)) + penalty * beta
        curvature = np.maximum(w * p * (1 - p), 1e-12)
        hessian = (x * curvature[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        for _ in range(_MAX_HALVINGS):
            if loss(beta - scale * step) <= current:
                break
            scale /= 2
        else:
            break  # no step is better: the minimum, within rounding
        beta = beta - scale * step
        before, current = current, loss(beta)
        if before - current < _CONVERGED:
            break
    return LogisticHead(beta[:-1], float(beta[-1]))


def _sigmoid(logits: Numbers) -> Numbers:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
