"""Score against speed, and which encoders no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safe_embed.errors import MissingExtraError
from safe_embed.reports.task_words import TaskText

__all__ = ["ParetoPoint", "best_of", "pareto_chart"]

_WIDTH, _HEIGHT = 520, 390
_ON_LINE, _OFF_LINE = "#0072B2", "#E69F00"  # Okabe and Ito's, told apart by colour-blind readers


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One encoder.

    Args:
        name: of the encoder.
        score: of one task.
        per_second: texts that it encodes in a second, more than 0.
    """

    name: str
    score: float
    per_second: float


def best_of(points: Sequence[ParetoPoint], *, higher_is_better: bool) -> list[ParetoPoint]:
    """The points that no other one equals or beats in both while beating it in one.

    Returns:
        Slowest first. Of equal points all are kept.
    """
    sign = 1 if higher_is_better else -1

    def is_beaten(one: ParetoPoint) -> bool:
        return any(
            other.per_second >= one.per_second
            and sign * other.score >= sign * one.score
            and (other.per_second > one.per_second or sign * other.score > sign * one.score)
            for other in points
        )

    return sorted((one for one in points if not is_beaten(one)), key=lambda one: one.per_second)


def pareto_chart(points: Sequence[ParetoPoint], text: TaskText) -> Any:  # noqa: ANN401 - one of Altair's charts
    """One mark an encoder with its name, and a line through the best.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    try:
        import altair as alt
    except ImportError:
        raise MissingExtraError("report", needed_for="figures") from None
    best = best_of(points, higher_is_better=text.higher_is_better)
    rows = [
        asdict(point)
        | {"score": round(point.score, 4), "per_second": round(point.per_second, 1)}
        | {"best": "yes" if point in best else "no"}
        for point in points
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("per_second:Q", title="texts a second", scale=alt.Scale(type="log", nice=True)),
        y=alt.Y(
            "score:Q",
            title=f"{text.score} ({text.direction})",
            scale=alt.Scale(zero=False, nice=True, padding=20),
        ),
    )
    line = (
        base.transform_filter("datum.best === 'yes'")
        .mark_line(color=_ON_LINE, strokeDash=[4, 4])
        .encode(order="per_second:Q")
    )
    marks = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color(
            "best:N",
            legend=None,
            scale=alt.Scale(domain=["yes", "no"], range=[_ON_LINE, _OFF_LINE]),
        ),
        shape=alt.Shape(
            "best:N",
            legend=None,
            scale=alt.Scale(domain=["yes", "no"], range=["circle", "triangle-up"]),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="encoder"),
            alt.Tooltip("score:Q", title=text.score),
            alt.Tooltip("per_second:Q", title="texts a second"),
        ],
    )
    names = base.mark_text(align="center", dy=-11).encode(text="name:N")
    return alt.layer(line, marks, names).properties(width=_WIDTH, height=_HEIGHT)
