"""The detector that works at once: exemplars and calibration from safe-embed-core's train split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from safe_embed.datasets import CORE, CoreRecord, core_digest, load_core
from safe_embed.datasets.core_set import is_held_out
from safe_embed.detection.detector import Detector
from safe_embed.detection.documents import CALIBRATION_KEY, document_texts
from safe_embed.detection.index import fill_index
from safe_embed.detection.scorers import DEFAULT_SCORER, make_scorer
from safe_embed.detection.shipped import shipped_fit
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.files import cache_dir
from safe_embed.metrics.detection import min_benign
from safe_embed.records import Prompt
from safe_embed.stores.base import ExemplarStore
from safe_embed.stores.sqlite import SqliteStore

__all__ = [
    "REVIEW_FPR",
    "DefaultSplit",
    "StoreFactory",
    "default_detector",
    "default_index_path",
    "split_core",
]

StoreFactory = Callable[[Path, str, int], ExemplarStore]
"""From the path of an index, an encoder's fingerprint and its dimension to an open store."""

REVIEW_FPR = 0.1
"""Share of benign prompts that a calibration by safe-embed-core lets be blocked or reviewed."""

_FORMAT = 2  # of what is in the cached index; another one is built under another name


@dataclass(frozen=True)
class DefaultSplit:
    """Records of safe-embed-core's train split, by their use."""

    exemplars: tuple[Prompt, ...]
    calibration: tuple[Prompt, ...]


def default_index_path(encoder: Encoder) -> Path:
    """Where the index of safe-embed-core for this encoder is kept."""
    name = f"{CORE}-{core_digest('train')[:12]}-{encoder.fingerprint[:12]}-{_FORMAT}.sqlite"
    return cache_dir() / "indexes" / name


def default_detector(
    encoder: Encoder,
    open_store: StoreFactory = SqliteStore.open_or_create,
    *,
    max_fpr: float = 0.01,
    review_fpr: float = REVIEW_FPR,
    progress: Progress | None = None,
) -> Detector:
    """A detector on safe-embed-core's train split, built the first time and kept.

    Another process that builds it meanwhile is waited for; a build that was cut off is done again.
    An adapter that was trained on these exemplars brings its head and thresholds; else these are
    fitted on them and on the prompts that were held out.

    Args:
        encoder: any encoder.
        open_store: opens or creates a store at a path.
        max_fpr: promised share of benign prompts to be blocked; other rates than those of the
            index that is kept calibrate it again.
        review_fpr: promised share to be blocked or reviewed. A third of the benign prompts are
            about sensitive things, so that on plainer traffic both shares are smaller.
        progress: called while texts are embedded the first time.

    Raises:
        InputError: the encoder cannot be used, or the data cannot support `max_fpr`.
        StorageError: the cache cannot be written.
    """
    path = default_index_path(encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(path, encoder.fingerprint, encoder.dimension)
    if _is_calibrated(store):
        detector = Detector.open(store, encoder)
        kept = detector.calibration
        if kept is not None and (kept.max_fpr, kept.review_fpr) == (max_fpr, review_fpr):
            return detector
    with FileLock(path.with_suffix(".lock")):
        split = split_core(load_core("train"), max_fpr=max_fpr)
        is_built = _is_calibrated(store)  # another process may have been faster
        if is_built:
            detector = Detector.open(store, encoder)
        else:
            index = fill_index(store, encoder, split.exemplars, source=CORE, progress=progress)
            shipped = shipped_fit(encoder, split.exemplars)
            if shipped and (shipped[1].max_fpr, shipped[1].review_fpr) == (max_fpr, review_fpr):
                now = {"index_version": store.version}
                head, calibration = (
                    shipped[0].model_copy(update=now),
                    shipped[1].model_copy(update=now),
                )
                store.set_documents(document_texts(index, head, calibration))
                return Detector.open(store, encoder)
            detector = Detector(store, encoder, make_scorer(DEFAULT_SCORER), index)
        return detector.calibrate(
            split.calibration, max_fpr=max_fpr, review_fpr=review_fpr, refit=not is_built
        )


def split_core(records: Sequence[CoreRecord], *, max_fpr: float = 0.01) -> DefaultSplit:
    """Splits records into exemplars and calibration prompts, pairs and sets kept together.

    One group in five calibrates, by the digest of its name. The benign prompts of the calibration
    are the ordinary ones (part `benign`), whose rate is promised; where those are too few for
    `max_fpr` the safe sides of pairs count too, which is stricter.

    Args:
        records: as `load_core` returns them.
        max_fpr: what the calibration should promise.
    """
    held = [one for one in records if is_held_out(one.group or one.id)]
    ordinary = [one for one in held if one.part == "benign"]
    safe = [one for one in held if one.label == "safe"]
    benign = ordinary if len(ordinary) >= min_benign(max_fpr) else safe
    unsafe = [one for one in held if one.label == "unsafe"]
    kept = [one for one in records if not is_held_out(one.group or one.id)]
    return DefaultSplit(
        exemplars=tuple(_prompt(one) for one in kept),
        calibration=tuple(_prompt(one) for one in [*unsafe, *benign]),
    )


def _is_calibrated(store: ExemplarStore) -> bool:
    return bool(store.get_documents([CALIBRATION_KEY]).get(CALIBRATION_KEY))


def _prompt(record: CoreRecord) -> Prompt:
    category = record.category if record.label == "unsafe" else None
    return Prompt(id=record.id, text=record.text, label=record.label, category=category)
