"""Which encoder is picked, and in which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safe_embed.benchmark import TASKS, Evaluation, TaskName
from safe_embed.reports.pareto import ParetoPoint, best_of
from safe_embed.reports.recommendation import Recommendation, recommend

SCORE = {
    "safety_challenging": "normalized_similarity",
    "safety_contrast": "boundary_similarity",
    "safety_taxonomy": "categorical_purity",
}


def shifted(base: Evaluation, name: str, by: dict[TaskName, float]) -> Evaluation:
    """The same run under another name, each item's score moved by about so much."""
    random = np.random.default_rng(len(name))
    items = [
        replace(item, score=item.score + by.get(item.task, 0) * random.uniform(0.8, 1.2))
        for item in base.items
    ]
    tasks = {}
    for task in TASKS:
        result = getattr(base.run.tasks, task)
        value = float(np.mean([item.score for item in items if item.task == task]))
        tasks[task] = result.model_copy(update={SCORE[task]: value})
    encoder = base.run.encoder.model_copy(update={"name": name})
    run = base.run.model_copy(
        update={"encoder": encoder, "tasks": base.run.tasks.model_copy(update=tasks)}
    )
    return replace(base, run=run, items=items)


def of(evaluations: list[Evaluation], **by_name: dict[TaskName, float]) -> Recommendation:
    base = evaluations[0]
    return recommend([shifted(base, name, by) for name, by in by_name.items()])


def test_lower_is_better_but_for_purity(evaluations: list[Evaluation]):
    better = {"safety_challenging": -0.1, "safety_contrast": -0.1, "safety_taxonomy": 0.1}
    found = of(evaluations, base={}, good=better)
    assert found.pick == "good"
    assert found.headline == (
        "Take good: it is better at telling look-alikes apart, noticing a small edit that makes a "
        "prompt safe and keeping prompts of one harm together than base."
    )
    assert found.comparison.rows[0].encoder == "good"
    worse = of(evaluations, base={}, bad={task: -amount for task, amount in better.items()})
    assert worse.pick == "base"


def test_two_trifles_do_not_outweigh_what_matters(evaluations: list[Evaluation]):
    trifles = {"safety_challenging": -0.001, "safety_contrast": -0.001, "safety_taxonomy": -0.2}
    found = of(evaluations, trifles=trifles, base={})
    assert found.pick == "base"
    assert (
        found.headline == "Take base: it is better at keeping prompts of one harm together than "
        "trifles."
    )


def test_encoders_that_are_alike_are_said_to_be(evaluations: list[Evaluation]):
    found = of(
        evaluations,
        one={},
        other={"safety_challenging": -0.002},
        bad=dict.fromkeys(("safety_challenging", "safety_contrast"), 0.2),
    )
    assert found.headline.endswith(
        f"{({'one', 'other'} - {found.pick}).pop()} is as good here: choose between them by speed, "
        "size and licence."
    )
    assert of(evaluations, one={}, two={}).headline.startswith("Take any of one and two")


def test_what_another_is_better_at_is_said(evaluations: list[Evaluation]):
    found = of(
        evaluations,
        apart={"safety_challenging": -0.2, "safety_contrast": -0.2},
        together={"safety_taxonomy": 0.3},
    )
    assert found.pick == "apart"
    assert found.caveats[0] == (
        "If keeping prompts of one harm together matters most to you, take together: there it is "
        "better than apart."
    )
    ((encoder, reasons),) = found.reasons
    assert encoder == "together"
    row = found.comparison.rows[1].tasks["safety_taxonomy"]
    assert "together is better than apart at keeping prompts of one harm together" in reasons[2]
    assert f"difference {row.difference:+.3f}" in reasons[2]


@pytest.mark.parametrize(
    ("direction", "names"), [("higher", ["slow", "fast"]), ("lower", ["low", "fast"])]
)
def test_the_line_joins_what_no_other_beats(direction: str, names: list[str]):
    points = [
        ParetoPoint(name="fast", score=0.5, per_second=100),
        ParetoPoint(name="slow", score=0.9, per_second=10),
        ParetoPoint(name="low", score=0.3, per_second=20),
    ]
    found = best_of(points, higher_is_better=direction == "higher")
    assert [one.name for one in found] == names
    assert best_of([points[0]] * 2, higher_is_better=True) == [points[0]] * 2
