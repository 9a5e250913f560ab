"""`safe-embed train`: an adapter that makes an encoder a better safety detector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import EncoderChoice, column_map, opened_store, remembered_as
from safe_embed.cli.labelled_files import training_records
from safe_embed.cli.options import (
    BatchSizeOption,
    ColumnOption,
    DataDirOption,
    JsonOption,
    NoCacheOption,
    SafeLabelOption,
    UnsafeLabelOption,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from safe_embed.training.loop import Step
    from safe_embed.training.train import TrainingReport

__all__ = ["train"]


def train(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            help="Pairs, contrast sets or labelled prompts: a file (unsafe:FILE or safe:FILE where "
            "all its prompts are of one label), a data set of `data list` such as "
            "safe-embed-core, or hub:ORG/NAME:SPLIT. Repeat for several.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Directory to write the adapter to.", show_default=False)
    ],
    encoder: Annotated[
        str, typer.Option(help="Base: name in the catalogue, or a directory.")
    ] = "minilm",
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of settings; by default the recipe for encoders of this size.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the adapter's start and the order.", min=0)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last epoch of an interrupted run.")
    ] = False,
    max_fpr: Annotated[
        float, typer.Option(help="Largest share of benign prompts to be blocked.")
    ] = 0.01,
    review_fpr: Annotated[
        float, typer.Option(help="Largest share of benign prompts to be blocked or reviewed.")
    ] = 0.1,
    drop_test_prompts: Annotated[
        bool,
        typer.Option(
            "--drop-test-prompts",
            help="Leave out training prompts that are test prompts, rather than refuse them.",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; by default a GPU where there is one.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    batch_size: BatchSizeOption = None,
) -> None:
    """Train an adapter, and show what it changed.

    A fifth of the data is held out, calibrates the detector and shows its quality. The directory
    has the adapter, which loads as ENCODER+DIR, and an index for `check --store DIR/index.sqlite`.
    Needs the extra `torch`.
    """
    from safe_embed.benchmark import load_suite
    from safe_embed.datasets import load_core, prompts_of
    from safe_embed.encoders import load_encoder
    from safe_embed.reports.training_tables import training_view
    from safe_embed.training import load_recipe, recipe_for
    from safe_embed.training.extra import chosen_device, require_torch
    from safe_embed.training.overlap import known_test_sets
    from safe_embed.training.prepare import prepare

    require_torch()
    chosen = chosen_device(device)
    given = load_recipe(recipe) if recipe is not None else None
    records = training_records(data, column_map(column, unsafe_label, safe_label))
    base = load_encoder(encoder, batch_size=batch_size, cache=not no_cache, report=note)
    from safe_embed.training.artefact import INDEX_FILE
    from safe_embed.training.train import TrainingOptions, Yardsticks, train_encoder

    with interruptible("the same command with --resume goes on from the last epoch"):
        tests = known_test_sets(data_dir)
        with progress_bar("comparing with test sets") as progress:
            found = prepare(records, base, tests, drop=drop_test_prompts, progress=progress)
        if found.n_dropped:
            note(f"{found.n_dropped:,} training prompts are test prompts and were left out")
        ordinary = [one.text for one in prompts_of(load_core("test"), "benign")]
        with _progress() as report:
            result = train_encoder(
                base,
                found,
                given or recipe_for(base.dimension),
                out,
                yardsticks=Yardsticks(load_suite("bundled"), ordinary),
                options=TrainingOptions(
                    seed=seed,
                    device=chosen,
                    resume=resume,
                    max_fpr=max_fpr,
                    review_fpr=review_fpr,
                ),
                report=report,
            )
    name = f"{encoder}+{out}"
    with opened_store(out / INDEX_FILE) as store:
        store.set_documents(remembered_as(EncoderChoice(name=name)))
    if json_output:
        print_plain(result.model_dump_json(indent=1))
        return
    print_result(training_view(result))
    note(f"saved {out}; now: safe-embed check --store {out / INDEX_FILE} PROMPT")


@contextmanager
def _progress() -> Iterator[TrainingReport]:
    """Phases as lines; steps with loss and time left as a bar, or as lines where there is none."""
    from safe_embed.training.train import TrainingReport

    with progress_bar("texts and steps") as bar:
        shown = 0

        def step(one: Step) -> None:
            nonlocal shown
            bar(one.done, one.total)
            tenth = 10 * one.done // one.total
            if tenth > shown:
                shown = tenth
                minutes, seconds = divmod(round(one.seconds_left), 60)
                note(
                    f"step {one.done:,} of {one.total:,}: loss {one.loss:.3f}, "
                    f"{minutes}:{seconds:02d} left"
                )

        yield TrainingReport(phase=note, step=step, embedded=bar)
