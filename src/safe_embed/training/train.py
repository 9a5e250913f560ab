"""From a base encoder and labelled prompts to an adapter with its detector."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from safe_embed.benchmark import Suite
from safe_embed.detection import Detector
from safe_embed.detection.heads import fit_balanced
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.errors import InputError
from safe_embed.files import atomic_directory
from safe_embed.metrics.detection import min_benign
from safe_embed.records import Prompt
from safe_embed.training.artefact import (
    adapted_encoder,
    build_index,
    require_free,
    write_documents,
)
from safe_embed.training.assess import assess
from safe_embed.training.examples import Examples, require_enough
from safe_embed.training.loop import Checkpoint, Step, StepReport, train_adapter
from safe_embed.training.model import TunedModel, base_model_dir
from safe_embed.training.prepare import TrainingData
from safe_embed.training.recipe import Recipe
from safe_embed.training.results import Base, DataUsed, Training

__all__ = ["TrainingOptions", "TrainingReport", "Yardsticks", "train_encoder"]


@dataclass(frozen=True)
class Yardsticks:
    """What before and after are measured on.

    Args:
        suite: the three tasks.
        ordinary: everyday prompts, to see what general similarity is kept.
    """

    suite: Suite
    ordinary: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is chosen for one run.

    Args:
        seed: of the adapter's start and of the order of the examples.
        device: `cpu` or `cuda`.
        resume: go on from the last epoch of a training that was cut off.
        max_fpr: promised share of benign prompts to be blocked, of the detector that comes with it.
        review_fpr: promised share to be blocked or reviewed.
    """

    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    max_fpr: float = 0.01
    review_fpr: float = 0.1


@dataclass(frozen=True)
class TrainingReport:
    """What is called as the training goes on.

    Args:
        phase: with a line for people, when something new begins.
        step: after each step of the optimiser.
        embedded: while texts are embedded.
    """

    phase: Callable[[str], None] = lambda _line: None
    step: StepReport = lambda _step: None
    embedded: Progress | None = None


@dataclass
class _Last:
    """Remembers the last step for the provenance."""

    report: StepReport
    step: Step | None = field(default=None)

    def __call__(self, step: Step) -> None:
        self.step = step
        self.report(step)


def train_encoder(
    encoder: Encoder,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    yardsticks: Yardsticks,
    options: TrainingOptions = TrainingOptions(),
    report: TrainingReport = TrainingReport(),
) -> Training:
    """Trains an adapter, measures it, and writes it with a calibrated detector.

    Args:
        encoder: the base, as `load_encoder` gives it.
        data: what is trained on and held out.
        recipe: settings.
        out: directory to write, which must not be there; it appears whole or not at all.
        yardsticks: what before and after are measured on.
        options: seed, device, rates.
        report: what is called meanwhile.

    Returns:
        Provenance and results, as training.json holds them.

    Raises:
        InputError: too little data, an encoder that cannot be trained, `out` is there, or the loss
            diverged.
        EncoderError: the base cannot be loaded by transformers.
        StorageError: the checkpoint or `out` cannot be written.
    """
    require_free(out)
    require_enough(data.examples, recipe.min_pairs)
    calibration = _calibration(data.held_out, options.max_fpr)
    directory = base_model_dir(encoder)
    started = time.perf_counter()
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if not options.resume:
        checkpoint.unlink(missing_ok=True)

    report.phase(f"preparing {len(data.examples):,} texts")
    model = TunedModel(encoder, recipe, device=options.device, seed=options.seed)
    states = model.lower(data.examples.texts)
    head = fit_balanced(model.embed(states).numpy(), data.examples.unsafe)
    report.phase(f"training in {model.number_format} on {options.device}")
    last = _Last(report.step)
    train_adapter(
        model,
        data.examples,
        states,
        recipe,
        head=head,
        seed=options.seed,
        checkpoint=Checkpoint(
            checkpoint, _key(directory.weights_digest, data, recipe, options.seed)
        ),
        report=last,
    )
    seconds = time.perf_counter() - started

    with atomic_directory(out) as temporary:
        model.save(temporary)
        adapted = adapted_encoder(directory, temporary, f"{encoder.name}+{out.name}")
        report.phase("building the index with the base and with the adapted encoder")
        exemplars = data.examples.prompts()
        before = Detector.build(exemplars, encoder, progress=report.embedded)
        after = build_index(
            temporary,
            adapted,
            exemplars,
            calibration,
            max_fpr=options.max_fpr,
            review_fpr=options.review_fpr,
            progress=report.embedded,
        )
        try:
            report.phase("measuring before and after")
            results = assess(
                encoder,
                adapted,
                (before, after),
                data.held_out,
                yardsticks.suite,
                yardsticks.ordinary,
                progress=report.embedded,
            )
        finally:
            after.store.close()
        step = last.step
        training = Training(
            base=Base(
                name=encoder.name,
                weights_sha256=directory.weights_digest,
                fingerprint=encoder.fingerprint,
            ),
            recipe=recipe,
            seed=options.seed,
            data=_used(data),
            n_steps=step.total if step else 0,
            final_loss=step.loss if step else 0.0,
            number_format=model.number_format,
            device=options.device,
            seconds=round(seconds, 1),
            versions=_versions(),
            results=results,
        )
        write_documents(temporary, training, out.name)
    checkpoint.unlink(missing_ok=True)
    return training


def _calibration(held_out: Examples, max_fpr: float) -> list[Prompt]:
    """Held-out prompts to calibrate by: safe ones that are no twin, or all where those are few."""
    prompts = held_out.prompts()
    twins = set(held_out.twins.ravel().tolist())
    plain = [p for row, p in enumerate(prompts) if p.label == "safe" and row not in twins]
    safe = [prompt for prompt in prompts if prompt.label == "safe"]
    needed = min_benign(max_fpr)
    if len(safe) < needed:
        raise InputError(
            f"one fifth of the data is held out to calibrate, {len(safe)} safe prompts, and a "
            f"false-positive rate of {max_fpr:g} needs {needed}; add benign prompts (--data "
            "safe-embed-core has some), or promise a larger --max-fpr"
        )
    benign = plain if len(plain) >= needed else safe
    return [*(prompt for prompt in prompts if prompt.label == "unsafe"), *benign]


def _used(data: TrainingData) -> DataUsed:
    return DataUsed(
        sources=data.sources,
        n_texts=len(data.examples),
        n_unsafe=int(data.examples.unsafe.sum()),
        n_pairs=len(data.examples.twins),
        digest=data.examples.digest(),
        n_held_out=len(data.held_out),
        held_out_digest=data.held_out.digest(),
        n_test_prompts_dropped=data.n_dropped,
        checked_against=data.checked_against,
    )


def _key(weights_digest: str, data: TrainingData, recipe: Recipe, seed: int) -> str:
    """What a checkpoint must be of to be gone on from."""
    parts = (weights_digest, data.examples.digest(), recipe.model_dump_json(), str(seed))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = ("safe-embed", "torch", "transformers", "peft", "numpy", "onnxruntime")
    return {
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
