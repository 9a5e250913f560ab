"""Whether a file of contrast sets is what it should be: small, distinct, real edits."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from safe_embed.contrast.answers import edit_distance, is_refusal, words
from safe_embed.contrast.distribution import Distribution
from safe_embed.contrast.set_rows import SetRow, read_set_rows
from safe_embed.datasets.tables import Problem
from safe_embed.encoders.base import Encoder
from safe_embed.errors import DataError, InputError
from safe_embed.metrics import edit_cosines
from safe_embed.vectors import normalize_rows

__all__ = [
    "DEFECTS",
    "Defect",
    "Finding",
    "ThresholdResult",
    "Thresholds",
    "ValidityReport",
    "check_sets",
]

Defect = Literal["unchanged", "identical", "empty", "refusal", "unsafe"]
DEFECTS: dict[Defect, str] = {
    "unchanged": "the original again",
    "identical": "an earlier edit of the same prompt again",
    "empty": "blank",
    "refusal": "a refusal, and no prompt",
    "unsafe": "unsafe by most votes of the judge, or a tie",
}
"""What can be wrong with an edit. An edit has each at most once, and may have several."""

_SETS_AT_ONCE = 200  # about a thousand texts, which is enough to fill an encoder's batches
_DISTANCE_BIN = 0.2
_COSINE_BIN = 0.1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Finding(_Model):
    """One edit with a defect."""

    row: int
    id: str
    edit: int
    """The number of the edit in its set; the first is 1."""
    defect: Defect
    text: str


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a file must keep to pass; None for no limit.

    Raises:
        InputError: a share that is not in [0, 1], a distance below 0, or a cosine not in [-1, 1].
    """

    max_unchanged: float | None = None
    """Largest share of edits with the defect, in [0, 1]; the next four too."""
    max_identical: float | None = None
    max_empty: float | None = None
    max_refusal: float | None = None
    max_unsafe: float | None = None
    max_edit_distance: float | None = None
    """Largest median of `edit_distance`, at least 0."""
    min_similarity: float | None = None
    """Smallest median cosine of edit and original, in [-1, 1]."""

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            low = -1.0 if name == "min_similarity" else 0.0
            high = math.inf if name == "max_edit_distance" else 1.0
            if limit is not None and not low <= limit <= high:
                wanted = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
                raise InputError(f"{name.replace('_', '-')} must be {wanted}, got {limit:g}")


class ThresholdResult(_Model):
    """One limit, and whether the file keeps it."""

    name: str
    limit: float
    value: float
    passed: bool


class ValidityReport(_Model):
    """What `check_sets` found."""

    path: Path
    n_sets: int
    n_edits: int
    edits_per_set: dict[int, int]
    """How many sets have each number of edits."""
    problems: tuple[Problem, ...]
    """Rows that hold no contrast set; they count in nothing else."""
    defects: dict[Defect, int]
    """How many edits have each defect; "unsafe" only where a judge voted."""
    findings: tuple[Finding, ...]
    """Each of those, in the order of the file."""
    verdicts: dict[str, int] | None
    """How many edits are safe, unsafe or undecided by the votes of a judge, where there are any.
    """
    edit_distance: Distribution | None
    """Of the edits that are not blank; None where all are."""
    similarity: Distribution | None
    """Cosine of edit and original, where an encoder was given."""
    encoder: str | None
    encoder_fingerprint: str | None
    thresholds: tuple[ThresholdResult, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether each row can be read and each threshold is kept."""
        return not self.problems and all(result.passed for result in self.thresholds)


def check_sets(
    path: Path | str,
    *,
    thresholds: Thresholds | None = None,
    encoder: Encoder | None = None,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> ValidityReport:
    """Reports the validity of a file of contrast sets, defects included.

    Args:
        path: CSV, JSONL or Parquet with the columns of contrast sets.
        thresholds: what it must keep.
        encoder: measures how much of the intent was kept, as the cosine of edit and original.
        progress: called with the number of sets that were read.

    Returns:
        The report; its size grows with the number of defects, and by two numbers an edit while it
        is made.

    Raises:
        DataError: the file cannot be read, or has no usable row.
        InputError: a threshold on similarity without an encoder, or on votes that are not there.
    """
    thresholds = thresholds or Thresholds()
    if thresholds.min_similarity is not None and encoder is None:
        raise InputError("a smallest similarity needs an encoder to measure it; name one")
    tally = _Tally()
    rows = _usable(read_set_rows(Path(path)), tally)
    while batch := list(itertools.islice(rows, _SETS_AT_ONCE)):
        for row in batch:
            tally.add(row)
        if encoder is not None:
            tally.cosines.extend(_cosines(encoder, batch))
        progress(tally.n_sets, None)
    return _report(Path(path), tally, thresholds, encoder)


@dataclass(slots=True)
class _Tally:
    """Counts that grow with each set."""

    n_sets: int = 0
    n_edits: int = 0
    edits_per_set: Counter[int] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    distances: array[float] = field(default_factory=lambda: array("d"))
    cosines: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: SetRow) -> None:
        self.n_sets += 1
        self.n_edits += len(row.edits)
        self.edits_per_set[len(row.edits)] += 1
        self.verdicts.update(row.verdicts or ())
        self.distances.extend(
            edit_distance(row.original, edit) for edit in row.edits if edit.strip()
        )
        for number, defect in _defects(row):
            text = row.edits[number - 1]
            self.findings.append(
                Finding(row=row.row, id=row.id, edit=number, defect=defect, text=text)
            )


def _usable(rows: Iterator[SetRow | Problem], tally: _Tally) -> Iterator[SetRow]:
    for row in rows:
        if isinstance(row, Problem):
            tally.problems.append(row)
        else:
            yield row


def _defects(row: SetRow) -> Iterator[tuple[int, Defect]]:
    seen = {words(row.original): 0}
    for number, edit in enumerate(row.edits, 1):
        if not edit.strip():
            yield number, "empty"
        else:
            first = seen.setdefault(words(edit), number)
            if first != number:
                yield number, "unchanged" if first == 0 else "identical"
            if is_refusal(edit):
                yield number, "refusal"
        if row.verdicts is not None and row.verdicts[number - 1] == "unsafe":
            yield number, "unsafe"


def _cosines(encoder: Encoder, rows: Sequence[SetRow]) -> Sequence[float]:
    """Cosine of each edit that is not blank with its original."""
    edits = [[edit for edit in row.edits if edit.strip()] for row in rows]
    pairs = [(row.original, some) for row, some in zip(rows, edits, strict=True) if some]
    n_edits = [len(some) for _, some in pairs]
    texts = [original for original, _ in pairs] + [one for _, some in pairs for one in some]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    vectors = normalize_rows(encoder.encode(list(distinct)))[[distinct[text] for text in texts]]
    cosines: list[float] = edit_cosines(
        vectors[: len(pairs)], vectors[len(pairs) :], n_edits
    ).tolist()
    return cosines


def _report(
    path: Path, tally: _Tally, thresholds: Thresholds, encoder: Encoder | None
) -> ValidityReport:
    if not tally.n_sets:
        first = tally.problems[0]
        message = str(Problem(None, first.field, first.message))
        raise DataError(path, f"{message}; no row of it is a contrast set", row=first.row)
    found = Counter(finding.defect for finding in tally.findings)
    defects = {name: found[name] for name in DEFECTS if name != "unsafe" or tally.verdicts}
    distances = Distribution.of(tally.distances, bin_width=_DISTANCE_BIN)
    similarity = Distribution.of(tally.cosines, bin_width=_COSINE_BIN)
    values: dict[str, float | None] = {
        f"max_{name}": count / tally.n_edits for name, count in defects.items()
    }
    values["max_edit_distance"] = None if distances is None else distances.median
    values["min_similarity"] = None if similarity is None else similarity.median
    return ValidityReport(
        path=path,
        n_sets=tally.n_sets,
        n_edits=tally.n_edits,
        edits_per_set=dict(sorted(tally.edits_per_set.items())),
        problems=tuple(tally.problems),
        defects=defects,
        findings=tuple(tally.findings),
        verdicts=dict(sorted(tally.verdicts.items())) or None,
        edit_distance=distances,
        similarity=similarity,
        encoder=None if encoder is None else encoder.name,
        encoder_fingerprint=None if encoder is None else encoder.fingerprint,
        thresholds=tuple(_results(path, thresholds, values)),
    )


def _results(
    path: Path, thresholds: Thresholds, values: dict[str, float | None]
) -> Iterator[ThresholdResult]:
    for name, limit in vars(thresholds).items():
        if limit is None:
            continue
        value = values.get(name)
        if value is None:
            what = "votes of a judge" if name == "max_unsafe" else "edits that are not blank"
            raise InputError(f"{path} holds no {what}, so {name.replace('_', '-')} has no value")
        passed = value >= limit if name.startswith("min_") else value <= limit
        yield ThresholdResult(name=name, limit=limit, value=value, passed=passed)
