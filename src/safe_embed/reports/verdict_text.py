"""A verdict as a person reads it: what was decided, how surely, by which exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.reports.untrusted import visible
from safe_embed.taxonomy import HARM_CATEGORIES

if TYPE_CHECKING:
    from safe_embed.detection.documents import Calibration
    from safe_embed.detection.verdict import Neighbor, Verdict

__all__ = ["percent", "short_category", "shown", "verdict_lines", "verdict_view"]

_STYLES: Final = {"allow": "bold green", "review": "bold yellow", "block": "bold red"}
_SENTENCES: Final = {
    "allow": "ALLOW: this prompt is not held for unsafe",
    "review": "REVIEW: this prompt may be unsafe; a person should look at it",
    "block": "BLOCK: this prompt is held for unsafe",
}
_MAX_TEXT: Final = 300
_CATEGORIES_SHOWN: Final = 3
_EVEN: Final = 0.005  # shown as 0.00


def shown(text: str, limit: int = _MAX_TEXT) -> str:
    """A text on one line, safe to print on a terminal, cut where it is long."""
    line = visible(" ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def percent(share: float) -> str:
    """A share in per cent, such as 1 % or 0.25 %."""
    return f"{100 * share:.4g} %"


def short_category(name: str) -> str:
    """The name of a category of harm for tables."""
    return HARM_CATEGORIES.get(name, shown(name, 60))


def verdict_view(verdict: Verdict, calibration: Calibration | None) -> RenderableType:
    """One verdict with its evidence.

    Args:
        verdict: of a prompt.
        calibration: of the detector; says what the thresholds promise.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(verdict, calibration):
        facts.add_row(name, Text(value))
    return Group(
        Text(_SENTENCES[verdict.decision], style=_STYLES[verdict.decision]),
        facts,
        _evidence(verdict),
        *(Text(f"note: {shown(note)}", style="dim") for note in verdict.notes),
    )


def verdict_lines(rows: Sequence[tuple[str, str, Verdict]]) -> RenderableType:
    """One line for each of several prompts: its name, the decision, the score, the prompt."""
    lines = []
    for name, text, verdict in rows:
        line = Text(f"{shown(name, 20):>6}  ", no_wrap=True, overflow="ellipsis")
        line.append(f"{verdict.decision:<6}", _STYLES[verdict.decision])
        line.append(f"  {verdict.score:.3f}  {shown(text, 200)}")
        lines.append(line)
    return Group(*lines)


def _facts(verdict: Verdict, calibration: Calibration | None) -> list[tuple[str, str]]:
    if verdict.calibrated:
        meaning = "calibrated probability that the prompt is unsafe"
    else:
        meaning = "a number that ranks prompts; it is no probability before a calibration"
    threshold, review = verdict.threshold, verdict.review_threshold
    levels = f"{threshold:.3f}  blocked above it"
    if review < threshold:
        levels += f", reviewed above {review:.3f}"
    facts = [("score", f"{verdict.score:.3f}  {meaning}"), ("threshold", levels)]
    if calibration is not None:
        facts.append(("promise", _promise(calibration)))
    if verdict.categories:
        told = list(verdict.categories.items())[:_CATEGORIES_SHOWN]
        names = ", ".join(f"{short_category(name)} {score:.2f}" for name, score in told)
        facts.append(("categories", names))
    if verdict.margin is not None:
        facts.append(("margin", f"{verdict.margin:+.2f}  {_nearer(verdict.margin)}"))
    if verdict.window.n_windows > 1:
        window = verdict.window
        where = f"characters {window.start} to {window.end} of the {window.of}"
        facts.append(("window", f"{where}, 1 of {window.n_windows} parts: {shown(window.text)}"))
    facts.append(("to flip it", verdict.flip))
    facts.append(("made by", f"encoder {verdict.encoder.name}, index {verdict.index_version}"))
    return facts


def _nearer(margin: float) -> str:
    if abs(margin) < _EVEN:
        return "the nearest unsafe exemplar and the nearest safe one are as near"
    return f"the nearest exemplar is {'unsafe' if margin > 0 else 'safe'}"


def _promise(calibration: Calibration) -> str:
    reviewed = ""
    if calibration.review_fpr > calibration.max_fpr:
        reviewed = f", {percent(calibration.review_fpr)} blocked or reviewed"
    return (
        f"of benign prompts like the {calibration.n_benign:,} of the calibration at most "
        f"{percent(calibration.max_fpr)} are blocked{reviewed}"
    )


def _evidence(verdict: Verdict) -> Table:
    table = Table()
    table.add_column("nearest unsafe exemplars", overflow="fold", ratio=1)
    table.add_column("nearest safe exemplars", overflow="fold", ratio=1)
    unsafe, safe = verdict.evidence.unsafe, verdict.evidence.safe
    for row in range(max(len(unsafe), len(safe))):
        table.add_row(*(_neighbor(side[row : row + 1]) for side in (unsafe, safe)))
    return table


def _neighbor(found: tuple[Neighbor, ...]) -> Text:
    if not found:
        return Text("")
    (one,) = found
    text = Text(f"{one.similarity:.2f}  {shown(one.text)}")
    if one.category is not None:
        text.append(f"  [{short_category(one.category)}]", style="dim")
    return text
