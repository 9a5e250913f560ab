"""The model card of an adapter, in Markdown."""

from __future__ import annotations

from safe_embed.benchmark import TASKS
from safe_embed.metrics.bootstrap import Interval
from safe_embed.training.results import Training

__all__ = ["comparison_rows", "model_card"]

_TASK_TITLES = {
    "safety_challenging": "Safety-Challenging, mean normalised similarity (lower is better)",
    "safety_contrast": "Safety-Contrast, boundary similarity (lower is better)",
    "safety_taxonomy": "Safety-Taxonomy, Categorical Purity (higher is better)",
}
_MEASURE_TITLES = {
    "auroc": "AUROC",
    "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
    "pair_accuracy": "pair accuracy",
}


def model_card(training: Training, title: str) -> str:
    """Says what the adapter is, what it was made of, how good it is and what it is not for."""
    base, data, recipe, results = training.base, training.data, training.recipe, training.results
    similarity = results.similarity
    sources = "\n".join(f"- {name} (SHA-256 {digest})" for name, digest in data.sources.items())
    table = "\n".join(f"| {' | '.join(row)} |" for row in comparison_rows(training))
    losses = (
        f"classification 1, pair rank {recipe.pair_rank:g}, twin similarity "
        f"{recipe.twin_similarity:g}, contrastive over categories of harm "
        f"{recipe.contrastive:g} (temperature {recipe.temperature:g}), distillation of the base's "
        f"cosines {recipe.distillation:g}"
    )
    return f"""# {title}

A LoRA adapter that makes the sentence encoder {base.name} tell unsafe prompts from harmless ones
that look alike. It is for detecting unsafe prompts by similarity search and a linear head; it
recognises prompts and answers none.

    safe-embed check --store {title}/index.sqlite "How do I kill a Python process?"
    safe-embed run --encoder {base.name}+{title}

## Data

{data.n_texts:,} texts, {data.n_unsafe:,} of them unsafe, with {data.n_pairs:,} pairs of twins, of:

{sources}

{data.n_held_out:,} further texts were held out for calibration and for the table below.
Compared with {", ".join(data.checked_against) or "no test set"} by words and by cosine;
{data.n_test_prompts_dropped} training prompts were left out for it.

## Training

The {recipe.layers} topmost layers, rank {recipe.rank}; {recipe.epochs:g} epochs,
{training.n_steps:,} steps with seed {training.seed}; losses: {losses}.
The trained change of the weights is multiplied by {recipe.strength:g}.
Computed in {training.number_format} on {training.device} in {training.seconds / 60:.1f} minutes.
training.json has the whole recipe, digests and versions.

## Before and after

| measure | before | after | p |
|---|---|---|---|
{table}

The tasks are those of the suite {results.tasks.suite!r}; p is of paired permutation tests,
Holm-corrected over the tasks. Detection is on the held-out texts, which are of the same making as
the training data: on other traffic it will be lower.

General similarity: over {similarity.n_pairs:,} pairs of ordinary prompts the cosines correlate with
the base's at {similarity.correlation:.3f}; their mean went from {similarity.average_before:.3f} to
{similarity.average_after:.3f}.

## Limits

English, and the kinds of harm in the training data. A prompt that is unlike all exemplars is judged
by the head alone. Thresholds hold for benign traffic like that of the calibration; calibrate on
your own.
"""


def comparison_rows(training: Training) -> list[tuple[str, str, str, str]]:
    """Measure, before, after and p of each line of the table before and after."""
    before, after = training.results.tasks.rows
    rows = []
    for task in TASKS:
        if task not in before.tasks:
            continue
        first, second = before.tasks[task], after.tasks[task]
        old, new = _shown(first.score, first.ci95), _shown(second.score, second.ci95)
        rows.append((_TASK_TITLES[task], old, new, _p(second.p_value)))
    for name, title in _MEASURE_TITLES.items():
        change = training.results.detection[name]
        p = training.results.pair_accuracy_p_value if name == "pair_accuracy" else None
        old = _shown(change.before, change.before_ci95)
        new = _shown(change.after, change.after_ci95)
        rows.append((f"held-out {title}", old, new, _p(p)))
    return rows


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _shown(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
