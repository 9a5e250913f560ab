"""Measures one encoder on one suite."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib import metadata

from safe_embed.benchmark.baseline import measure_average_similarity
from safe_embed.benchmark.results import (
    EncoderInfo,
    Evaluation,
    Item,
    Run,
    SafetyChallenging,
    SafetyContrast,
    SafetyTaxonomy,
    Settings,
    SuiteInfo,
    TaskName,
    TaskResults,
    Truncation,
)
from safe_embed.benchmark.safety_challenging import safety_challenging
from safe_embed.benchmark.safety_contrast import safety_contrast
from safe_embed.benchmark.safety_taxonomy import require_taxonomy, safety_taxonomy
from safe_embed.benchmark.suite import Suite
from safe_embed.encoders.base import CountsTokens, Encoder
from safe_embed.encoders.cache import uncached
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.metrics import normalized_similarity

__all__ = ["evaluate"]

_MAX_TRUNCATED_SHOWN = 100


def evaluate(
    encoder: Encoder,
    suite: Suite,
    *,
    tasks: Sequence[TaskName] | None = None,
    k: int = 10,
    seed: int = 0,
    n_resamples: int = 2000,
    average_similarity: float | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Runs the paper's tasks.

    Args:
        encoder: as `load_encoder` returns it, or anything that keeps the protocol `Encoder`.
        suite: as `load_suite` returns it.
        tasks: which tasks; all that the suite has data for when None.
        k: number of neighbours in Safety-Taxonomy.
        seed: of the bootstrap intervals.
        n_resamples: of the bootstrap intervals.
        average_similarity: to normalise by; when None the value that the paper publishes for
            this encoder, or else one measured on the suite's baseline prompts.
        progress: called while texts are embedded.

    Returns:
        The run, and what each item contributed to it.

    Raises:
        InputError: a task was asked for that the suite has no data for, or the data cannot carry
            it (too few prompts for k, a category with one prompt).
        EncoderError: the encoder returned something that is no embedding.
    """
    started = time.perf_counter()
    chosen = suite.tasks_or_all(tasks)
    if "safety_taxonomy" in chosen:
        require_taxonomy(suite.taxonomy, k)  # before hours may go into encoding
    average, source = _average_similarity(encoder, suite, average_similarity, seed)
    embedded = EmbeddedTexts.embed(encoder, suite.texts(chosen), progress=progress)
    encoded = time.perf_counter()

    challenging: SafetyChallenging | None = None
    contrast: SafetyContrast | None = None
    taxonomy: SafetyTaxonomy | None = None
    items: list[Item] = []
    if "safety_challenging" in chosen:
        challenging, of_task = safety_challenging(
            suite.pairs, embedded, average=average, seed=seed, n_resamples=n_resamples
        )
        items += of_task
    if "safety_contrast" in chosen:
        contrast, of_task = safety_contrast(
            suite.contrast_sets, embedded, average=average, seed=seed, n_resamples=n_resamples
        )
        items += of_task
    if "safety_taxonomy" in chosen:
        taxonomy, of_task = safety_taxonomy(
            suite.taxonomy, embedded, k=k, seed=seed, n_resamples=n_resamples
        )
        items += of_task
    ended = time.perf_counter()

    run = Run(
        encoder=EncoderInfo(
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
            average_similarity=average,
            average_similarity_source=source,
        ),
        suite=SuiteInfo(name=suite.name, digests=suite.digests),
        settings=Settings(tasks=chosen, k=k, seed=seed, n_resamples=n_resamples),
        tasks=TaskResults(
            safety_challenging=challenging, safety_contrast=contrast, safety_taxonomy=taxonomy
        ),
        truncation=_truncation(encoder, suite, chosen),
        timing_s={
            "encode": round(encoded - started, 3),
            "tasks": round(ended - encoded, 3),
            "total": round(ended - started, 3),
        },
        threads=getattr(uncached(encoder), "threads", None),
        versions=_versions(),
    )
    return Evaluation(run=run, items=items)


def _average_similarity(
    encoder: Encoder, suite: Suite, given: float | None, seed: int
) -> tuple[float, str]:
    if given is not None:
        normalized_similarity(0.0, given)  # refuses an impossible one before anything is encoded
        return given, "given"
    if encoder.published_average_similarity is not None:
        return encoder.published_average_similarity, "published"
    measured = measure_average_similarity(encoder, suite.baseline, seed=seed)
    return measured.mean, f"measured: {suite.baseline.name}"


def _truncation(encoder: Encoder, suite: Suite, tasks: Sequence[TaskName]) -> Truncation | None:
    counter = uncached(encoder)  # the cache does not count
    if not isinstance(counter, CountsTokens):
        return None
    texts = sorted(set(suite.texts(tasks)))
    counts = counter.count_tokens(texts)
    cut = {text for text, n in zip(texts, counts, strict=True) if n > counter.max_tokens}
    items = [f"{task} {name}" for task, name, of_item in suite.items(tasks) if cut & set(of_item)]
    return Truncation(
        max_tokens=counter.max_tokens, n=len(cut), items=tuple(items[:_MAX_TRUNCATED_SHOWN])
    )


def _versions() -> dict[str, str]:
    packages = ("safe-embed", "numpy", "onnxruntime", "tokenizers")
    return {
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
