"""A suite: the data of the three tasks, and the prompts for the average similarity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from safe_embed.benchmark.baseline import BaselinePrompts, split_head_tail
from safe_embed.benchmark.results import TaskName
from safe_embed.datasets import (
    CORE,
    DataSet,
    Kind,
    RecordFile,
    Row,
    catalogue,
    contrast_sets_of,
    core_digest,
    load_core,
    load_head_tail,
    load_records,
    pairs_of,
    prompts_of,
    read_table,
)
from safe_embed.errors import InputError
from safe_embed.records import ContrastSet, Prompt, PromptPair, texts_of

__all__ = ["BUNDLED", "PAPER", "Suite", "load_baseline", "load_suite"]

BUNDLED = "bundled"
PAPER = "paper"

_TASKS: tuple[TaskName, ...] = get_args(TaskName)
_PAPER_DATA_SETS = {
    "pairs": "xstest-aug",
    "contrast_sets": "contrast-sets",
    "taxonomy": "do-not-answer",
}
_KINDS: dict[str, Kind] = {
    "pairs": "pairs",
    "contrast_sets": "contrast sets",
    "taxonomy": "prompts",
}
_EXTENSIONS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The data of the three tasks; a task without data is not run."""

    name: str
    pairs: Sequence[PromptPair] = ()
    contrast_sets: Sequence[ContrastSet] = ()
    taxonomy: Sequence[Prompt] = ()
    baseline: BaselinePrompts
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the file behind each part."""

    def tasks_or_all(self, tasks: Sequence[TaskName] | None) -> tuple[TaskName, ...]:
        """The tasks to run, in the paper's order.

        Raises:
            InputError: a task was asked for that this suite has no data for.
        """
        available = {
            "safety_challenging": self.pairs,
            "safety_contrast": self.contrast_sets,
            "safety_taxonomy": self.taxonomy,
        }
        wanted = [name for name in _TASKS if tasks is None or name in tasks]
        missing = [name for name in wanted if not available[name]]
        if tasks is not None and missing:
            raise InputError(
                f"suite {self.name!r} has no data for {missing[0]}; add its file or leave that "
                "task out"
            )
        return tuple(name for name in wanted if available[name])

    def items(self, tasks: Sequence[TaskName]) -> Iterator[tuple[TaskName, str, tuple[str, ...]]]:
        """Task, id and texts of every item that these tasks compare."""
        if "safety_challenging" in tasks:
            for pair in self.pairs:
                yield "safety_challenging", pair.id, texts_of(pair)
        if "safety_contrast" in tasks:
            for one in self.contrast_sets:
                yield "safety_contrast", one.id, texts_of(one)
        if "safety_taxonomy" in tasks:
            for prompt in self.taxonomy:
                yield "safety_taxonomy", prompt.id, texts_of(prompt)

    def texts(self, tasks: Sequence[TaskName]) -> Iterator[str]:
        """Every text that these tasks compare, duplicates included."""
        for _, _, texts in self.items(tasks):
            yield from texts


def load_suite(
    name: str | Path = BUNDLED,
    *,
    data_dir: Path | None = None,
    report: Callable[[str], None] = lambda _message: None,
) -> Suite:
    """Loads a suite by name or from a directory.

    Args:
        name: `bundled` (the test split of safe-embed-core, which ships with the package), `paper`
            (the paper's data, fetched where it is not on this machine), or a directory with at
            least one of the files `pairs`, `contrast_sets` and `taxonomy`, and perhaps `baseline`,
            each as `.jsonl`, `.csv` or `.parquet` (docs/data.md tells their fields).
        data_dir: where the paper's files are, in place of the user's data directory; nothing is
            fetched then.
        report: called with a line for people when something is fetched.

    Raises:
        InputError: no such suite, or a directory without any of the files.
        DataError: a file is missing, has the wrong digest, or a row that cannot be used.
        DownloadError: the paper's data could not be fetched.
    """
    if str(name) == BUNDLED:
        return _bundled_suite(data_dir)
    if str(name) == PAPER:
        return _paper_suite(data_dir, report)
    directory = Path(name).expanduser()
    if not directory.is_dir():
        raise InputError(
            f"no suite {str(name)!r}: use {BUNDLED!r}, {PAPER!r}, or an existing directory with "
            "pairs, contrast_sets or taxonomy files"
        )
    return _directory_suite(directory, data_dir)


def load_baseline(path: Path | None = None, *, data_dir: Path | None = None) -> BaselinePrompts:
    """Two samples of prompts for the average similarity.

    Args:
        path: a file of prompts. One with labels in a column `is_safe` and texts in `prompt` is
            taken for BeaverTails `30k_train` and sampled as in the paper; any other is split into
            two halves of at most 500 prompts. None: BeaverTails where its file is in the data
            directory, else the bundled prompts.
        data_dir: where to look for BeaverTails before the user's data directory.

    Raises:
        DataError: the file cannot be used.
    """
    if path is not None:
        if _is_beavertails(path):
            return _beavertails_baseline(path)
        return split_head_tail(path.stem, load_records(path, "prompts").prompts)
    found = catalogue.locate(catalogue.row("beavertails-30k"), data_dir)
    if found is not None:
        return _beavertails_baseline(found)
    return split_head_tail("bundled-baseline", prompts_of(load_core("test"), "baseline"))


def _bundled_suite(data_dir: Path | None) -> Suite:
    records = load_core("test")
    return Suite(
        name=BUNDLED,
        pairs=pairs_of(records),
        contrast_sets=contrast_sets_of(records),
        taxonomy=prompts_of(records, "taxonomy"),
        baseline=load_baseline(data_dir=data_dir),
        digests={CORE: core_digest("test")},
    )


def _paper_suite(data_dir: Path | None, report: Callable[[str], None]) -> Suite:
    files = {}
    for part, data_set in _PAPER_DATA_SETS.items():
        row = catalogue.row(data_set)
        if data_dir is None:
            _fetch_if_absent(row, report)
        files[part] = catalogue.load(row, data_dir)
    return _suite(PAPER, files, load_baseline(data_dir=data_dir))


def _fetch_if_absent(row: DataSet, report: Callable[[str], None]) -> None:
    if row.fetchable and catalogue.locate(row) is None:
        report(f"fetching {row.name} from {row.url} (licence: {row.license})")
        catalogue.fetch(row)


def _directory_suite(directory: Path, data_dir: Path | None) -> Suite:
    files = {}
    for part, kind in _KINDS.items():
        if (path := _find(directory, part)) is not None:
            files[part] = load_records(path, kind)
    if not files:
        raise InputError(
            f"{directory} holds no suite: it needs at least one of pairs, contrast_sets and "
            f"taxonomy, each with one of the endings {', '.join(_EXTENSIONS)}"
        )
    baseline = load_baseline(_find(directory, "baseline"), data_dir=data_dir)
    return _suite(directory.resolve().name, files, baseline)


def _find(directory: Path, part: str) -> Path | None:
    found = [path for ending in _EXTENSIONS if (path := directory / f"{part}{ending}").is_file()]
    if len(found) > 1:
        raise InputError(f"{directory} has {found[0].name} and {found[1].name}; remove one of them")
    return found[0] if found else None


def _suite(name: str, files: dict[str, RecordFile], baseline: BaselinePrompts) -> Suite:
    return Suite(
        name=name,
        pairs=files["pairs"].pairs if "pairs" in files else (),
        contrast_sets=files["contrast_sets"].contrast_sets if "contrast_sets" in files else (),
        taxonomy=files["taxonomy"].prompts if "taxonomy" in files else (),
        baseline=baseline,
        digests={part: file.digest for part, file in files.items()},
    )


def _is_beavertails(path: Path) -> bool:
    for row in read_table(path):
        return isinstance(row, Row) and {"prompt", "is_safe"} <= row.values.keys()
    return False


def _beavertails_baseline(path: Path) -> BaselinePrompts:
    head, tail = load_head_tail(path)
    return BaselinePrompts(
        name="beavertails-30k",
        head=tuple(prompt.text for prompt in head),
        tail=tuple(prompt.text for prompt in tail),
    )
