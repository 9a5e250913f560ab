"""Which of some encoders to pick, and why, in words made from a comparison of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_embed.benchmark import (
    TASKS,
    Comparison,
    ComparisonRow,
    Evaluation,
    TaskDifference,
    TaskName,
    compare,
)
from safe_embed.reports.task_words import TASK_TEXTS, listed, number, p_text, signed

__all__ = ["Recommendation", "recommend"]

_SIGNIFICANT = 0.05
_SMALL = 0.01  # a difference of scores that changes no figure's second decimal


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The encoder to pick.

    Args:
        pick: its name.
        headline: one sentence.
        reasons: one sentence for each other encoder and task.
        caveats: when another would be the better choice, and how sure this is.
        comparison: of all encoders with the pick, which is its first row.
    """

    pick: str
    headline: str
    reasons: tuple[tuple[str, tuple[str, ...]], ...]
    caveats: tuple[str, ...]
    comparison: Comparison


def recommend(evaluations: Sequence[Evaluation], *, seed: int = 0) -> Recommendation:
    """Picks the encoder that no other beats in more tasks than it is beaten in.

    It begins with the best mean rank of scores, and goes on to an encoder that is better in more
    tasks than it is worse in. A difference counts where it is hardly chance and no trifle.

    Args:
        evaluations: two or more on the same data, encoders with names of their own.
        seed: of resamples and permutations.

    Raises:
        InputError: runs on other data or settings, or no task in common.
    """
    comparison = compare(evaluations, seed=seed)
    pick = _best_mean_rank(comparison)
    tried: set[int] = set()
    while pick not in tried:
        tried.add(pick)
        order = [pick, *(row for row in range(len(evaluations)) if row != pick)]
        comparison = compare([evaluations[row] for row in order], seed=seed)
        ahead = [(_net(row), -place) for place, row in enumerate(comparison.rows)]
        most, place = max(ahead)
        if most <= 0:
            break
        pick = order[-place]
    return Recommendation(
        pick=comparison.rows[0].encoder,
        headline=_headline(comparison),
        reasons=tuple((row.encoder, _reasons(comparison, row)) for row in comparison.rows[1:]),
        caveats=tuple(_caveats(comparison)),
        comparison=comparison,
    )


def _best_mean_rank(comparison: Comparison) -> int:
    ranks = [0] * len(comparison.rows)
    for task in comparison.n:
        sign = -1 if TASK_TEXTS[task].higher_is_better else 1
        scores = [sign * row.tasks[task].score for row in comparison.rows]
        for row, score in enumerate(scores):
            ranks[row] += sum(other < score for other in scores)
    return ranks.index(min(ranks))


def _is_better(task: TaskName, difference: float) -> bool:
    return (difference > 0) == TASK_TEXTS[task].higher_is_better


def _is_significant(one: TaskDifference) -> bool:
    return one.p_value is not None and one.p_value < _SIGNIFICANT


def _matters(one: TaskDifference) -> bool:
    """Whether a difference is more than chance, and more than a trifle."""
    return _is_significant(one) and abs(one.difference or 0.0) >= _SMALL


def _apart(row: ComparisonRow, *, better: bool) -> list[TaskName]:
    """Tasks in which the encoder is better, or worse, than the first one by what matters."""
    return [
        task
        for task, one in row.tasks.items()
        if one.difference is not None
        and _matters(one)
        and _is_better(task, one.difference) == better
    ]


def _net(row: ComparisonRow) -> int:
    return len(_apart(row, better=True)) - len(_apart(row, better=False))


def _headline(comparison: Comparison) -> str:
    pick, *others = comparison.rows
    alike = [row.encoder for row in others if not any(map(_matters, row.tasks.values()))]
    beaten = [row for row in others if _net(row) < 0]
    if len(alike) == len(others):
        return (
            f"Take any of {listed([row.encoder for row in comparison.rows])}: no difference "
            f"between them is both more than chance and {_SMALL} or more. Choose by speed, size "
            "and licence."
        )
    sentences = [_choice(pick.encoder, beaten, [task for task in TASKS if task in comparison.n])]
    if alike:
        are = "is" if len(alike) == 1 else "are"
        sentences.append(
            f"{listed(alike)} {are} as good here: choose between them by speed, size and licence."
        )
    return " ".join(sentences)


def _choice(pick: str, beaten: Sequence[ComparisonRow], tasks: Sequence[TaskName]) -> str:
    if not beaten:
        return f"Take {pick}, unless what the others are better at matters most to you."
    names = listed([row.encoder for row in beaten])
    common = [task for task in tasks if all(task in _apart(row, better=False) for row in beaten)]
    if not common:
        return f"Take {pick}: it is better in more tasks than worse, against each of {names}."
    what = listed([TASK_TEXTS[task].good_at for task in common])
    return f"Take {pick}: it is better at {what} than {names}."


def _reasons(comparison: Comparison, row: ComparisonRow) -> tuple[str, ...]:
    pick = comparison.rows[0]
    return tuple(_reason(pick, row, task) for task in TASKS if task in row.tasks)


def _reason(pick: ComparisonRow, row: ComparisonRow, task: TaskName) -> str:
    text, mine, theirs = TASK_TEXTS[task], pick.tasks[task], row.tasks[task]
    # Only the first row has no difference.
    assert theirs.difference is not None and theirs.difference_ci95 and theirs.p_value  # noqa: S101, PT018
    low, high = theirs.difference_ci95
    figures = (
        f"{row.encoder} {number(theirs.score)}, {pick.encoder} {number(mine.score)}; difference "
        f"{signed(theirs.difference)} [{signed(low)}, {signed(high)}], p {p_text(theirs.p_value)}"
    )
    if not _is_significant(theirs):
        return f"{text.title}: no clear difference, chance alone could explain it ({figures})."
    better, worse = pick.encoder, row.encoder
    if _is_better(task, theirs.difference):
        better, worse = worse, better
    small = ", by little" if abs(theirs.difference) < _SMALL else ""
    return f"{text.title}: {better} is better than {worse} at {text.good_at}{small} ({figures})."


def _caveats(comparison: Comparison) -> list[str]:
    pick, *others = comparison.rows
    caveats = [
        f"If {listed([TASK_TEXTS[task].good_at for task in ahead])} matters most to you, take "
        f"{row.encoder}: there it is better than {pick.encoder}."
        for row in others
        if (ahead := _apart(row, better=True))
    ]
    caveats.append(
        "The pick was chosen on the very prompts it was measured on, and the prompts that a guard "
        "will meet are others: measure the first two on prompts of your own before you decide."
    )
    return caveats
