"""The three tasks in words for people who never read the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from safe_embed.benchmark import Run, TaskName
from safe_embed.taxonomy import HARM_CATEGORIES, PAIR_TYPES

__all__ = [
    "TASK_TEXTS",
    "Group",
    "TaskText",
    "groups_of",
    "listed",
    "number",
    "p_text",
    "quoted",
    "signed",
]


@dataclass(frozen=True, kw_only=True)
class TaskText:
    """One task.

    Args:
        title: the paper's name.
        score: what is measured, one number.
        higher_is_better: which way is good.
        good_at: completes "is better at".
        question: what the task asks of an encoder.
        matters: why someone should care.
    """

    title: str
    score: str
    higher_is_better: bool
    good_at: str
    question: str
    matters: str

    @property
    def direction(self) -> str:
        """Which way is good, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"


TASK_TEXTS = MappingProxyType[TaskName, TaskText](
    {
        "safety_challenging": TaskText(
            title="Safety-Challenging",
            score="normalised similarity",
            higher_is_better=False,
            good_at="telling look-alikes apart",
            question="Does it keep an unsafe prompt apart from a harmless one that looks like it "
            "(to kill a person, to kill a process)?",
            matters="An encoder that is poor at this blocks harmless requests for a word they use.",
        ),
        "safety_contrast": TaskText(
            title="Safety-Contrast",
            score="boundary similarity",
            higher_is_better=False,
            good_at="noticing a small edit that makes a prompt safe",
            question="Does an unsafe prompt move away when a small edit makes it safe? The most "
            "similar of its edits counts.",
            matters="An encoder that is poor at this sees no line between a request and its "
            "harmless edit.",
        ),
        "safety_taxonomy": TaskText(
            title="Safety-Taxonomy",
            score="Categorical Purity",
            higher_is_better=True,
            good_at="keeping prompts of one harm together",
            question="Do prompts of one kind of harm lie together? The share of a prompt's nearest "
            "neighbours that have its own category.",
            matters="An encoder that is good at this recognises a new attack by the known ones of "
            "its kind.",
        ),
    }
)


@dataclass(frozen=True)
class Group:
    """The score of one type or category."""

    name: str
    n: int
    value: float
    ci95: tuple[float, float]


def groups_of(run: Run, task: TaskName) -> list[Group]:
    """Scores by type or category with short names, in the run's order; empty without the task."""
    tasks = run.tasks
    if task == "safety_challenging":
        pairs = tasks.safety_challenging
        return [
            Group(PAIR_TYPES.get(name, name), one.n, one.normalized_similarity, one.ci95)
            for name, one in (pairs.by_type.items() if pairs else ())
        ]
    if task == "safety_contrast":
        sets = tasks.safety_contrast
        return [
            Group(HARM_CATEGORIES.get(name, name), one.n, one.boundary_similarity, one.ci95)
            for name, one in (sets.by_category.items() if sets else ())
        ]
    prompts = tasks.safety_taxonomy
    return [
        Group(HARM_CATEGORIES.get(name, name), one.n, one.categorical_purity, one.ci95)
        for name, one in (prompts.by_category.items() if prompts else ())
    ]


def number(value: float) -> str:
    """Three decimals with a true minus sign, as scores are printed everywhere."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Like `number`, with a plus where it is positive."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def p_text(value: float) -> str:
    """A p-value as it follows the letter p."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def quoted(name: str) -> str:
    """A name that may hold commas, so that it can stand in a sentence."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"
