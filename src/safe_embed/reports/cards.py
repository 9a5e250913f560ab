"""The summary card of one encoder: its scores, its cost, and what it is best and worst at."""

from __future__ import annotations

from dataclasses import dataclass

from safe_embed.benchmark import TASKS, Evaluation, Run, TaskName, score_of
from safe_embed.encoders import catalogue
from safe_embed.reports.task_words import TASK_TEXTS, TaskText, groups_of, number, quoted

__all__ = ["Card", "CardScore", "encoded_per_second", "make_card"]


@dataclass(frozen=True, kw_only=True)
class CardScore:
    """One task's line on a card; `strengths` says best and worst in words."""

    text: TaskText
    value: str
    interval: str
    strengths: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One encoder in short; `facts` are names and values."""

    name: str
    description: str | None
    scores: tuple[CardScore, ...]
    facts: tuple[tuple[str, str], ...]


def make_card(evaluation: Evaluation) -> Card:
    """Makes the card of one run."""
    run = evaluation.run
    scores = []
    for task in TASKS:
        score = score_of(run, task)
        if score is not None:
            low, high = score[1]
            scores.append(
                CardScore(
                    text=TASK_TEXTS[task],
                    value=number(score[0]),
                    interval=f"{number(low)} to {number(high)}",
                    strengths=_strengths(run, task),
                )
            )
    row = _catalogued(run)
    return Card(
        name=run.encoder.name,
        description=row.description if row else None,
        scores=tuple(scores),
        facts=tuple(_facts(evaluation, row)),
    )


def encoded_per_second(evaluation: Evaluation) -> float | None:
    """Distinct texts of the items over the seconds that the run spent on encoding.

    None where the run does not say, or took no measurable time.
    """
    seconds = evaluation.run.timing_s.get("encode", 0.0)
    texts = {text for item in evaluation.items for text in (item.text, *item.others)}
    return len(texts) / seconds if seconds > 0 and texts else None


def _strengths(run: Run, task: TaskName) -> str:
    groups, higher_is_better = groups_of(run, task), TASK_TEXTS[task].higher_is_better
    if len(groups) < 2:
        return ""
    ordered = sorted(groups, key=lambda one: one.value, reverse=higher_is_better)
    best, worst = ordered[0], ordered[-1]
    words = (
        f"Best at {quoted(best.name)} ({number(best.value)}), worst at {quoted(worst.name)} "
        f"({number(worst.value)})"
    )
    taxonomy = run.tasks.safety_taxonomy
    if task == "safety_taxonomy" and taxonomy is not None and taxonomy.chance > 0:
        times = taxonomy.categorical_purity / taxonomy.chance
        words += (
            f". On average {times:.1f} times what chance would give ({number(taxonomy.chance)})"
        )
    return f"{words}."


def _catalogued(run: Run) -> catalogue.EncoderRow | None:
    """The row of that name, unless the vectors show that the run was of another encoder."""
    row = catalogue.find(run.encoder.name)
    return row if row is not None and row.dimension == run.encoder.dimension else None


def _facts(evaluation: Evaluation, row: catalogue.EncoderRow | None) -> list[tuple[str, str]]:
    run = evaluation.run
    facts = [("Dimension", f"{run.encoder.dimension} numbers an embedding")]
    if (speed := encoded_per_second(evaluation)) is not None:
        threads = f", {run.threads} threads" if run.threads is not None else ""
        facts.append(
            ("Speed in this run", f"{speed:,.0f} texts a second{threads}; {_seconds(run)} in all")
        )
    if row is None:
        facts.append(("Size and licence", "not in the catalogue of encoders"))
    else:
        parameters = f", {row.parameters_million} M parameters" if row.parameters_million else ""
        size = f"{row.size_mb:,} MB" if row.size_mb else "an API, nothing to download"
        facts.append(("Size", f"{size}{parameters}"))
        facts.append(("Licence", row.license + (", gated" if row.gated else "")))
        facts.append(("Reads at most", f"{row.max_tokens:,} tokens"))
    average = number(run.encoder.average_similarity)
    source = run.encoder.average_similarity_source.partition(":")[0]
    facts.append(("Average similarity", f"{average} ({source})"))
    if run.truncation is not None and run.truncation.n:
        facts.append(
            ("Cut texts", f"{run.truncation.n} were longer than {run.truncation.max_tokens} tokens")
        )
    return facts


def _seconds(run: Run) -> str:
    seconds = run.timing_s.get("total", run.timing_s["encode"])
    return f"{seconds:,.1f} s"
