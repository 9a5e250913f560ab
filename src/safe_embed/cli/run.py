"""`safe-embed run`: measures encoders on the paper's three tasks."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.options import (
    AllowPickleOption,
    BackendOption,
    BaseUrlOption,
    BatchSizeOption,
    DataDirOption,
    DeviceOption,
    JsonOption,
    NoCacheOption,
    SeedOption,
    TrustRemoteCodeOption,
)
from safe_embed.cli.output import (
    interruptible,
    note,
    print_plain,
    print_result,
    progress_bar,
)

if TYPE_CHECKING:
    from safe_embed.benchmark import TaskName

__all__ = ["run"]


class Task(StrEnum):
    """Names of the tasks on the command line."""

    CHALLENGING = "challenging"
    CONTRAST = "contrast"
    TAXONOMY = "taxonomy"


_TASK_NAMES: dict[Task, TaskName] = {
    Task.CHALLENGING: "safety_challenging",
    Task.CONTRAST: "safety_contrast",
    Task.TAXONOMY: "safety_taxonomy",
}


def run(
    *,
    encoder: Annotated[
        list[str],
        typer.Option(help="Name in the catalogue, or a directory. Repeat for several."),
    ] = ["minilm"],  # noqa: B006 - typer reads it, nobody changes it
    suite: Annotated[
        str, typer.Option(help="bundled, paper, or a directory of your own files.")
    ] = "bundled",
    task: Annotated[
        list[Task] | None,
        typer.Option(help="Run only this task. Repeat for several.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Neighbours in Categorical Purity.", min=1)] = 10,
    average_similarity: Annotated[
        float | None,
        typer.Option(
            help="Average similarity to normalise by, in place of the published or measured one.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Run file to write; with several encoders NAME.json becomes NAME-ENCODER.json. "
            "By default a new file under runs/.",
            show_default=False,
        ),
    ] = None,
    json_output: JsonOption = False,
    seed: SeedOption = 0,
    no_cache: NoCacheOption = False,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Measure encoders on Safety-Challenging, Safety-Contrast and Safety-Taxonomy."""
    from safe_embed.benchmark import evaluate, load_suite, save_evaluation
    from safe_embed.encoders import LoadOptions, load_encoder
    from safe_embed.reports import run_tables

    data = load_suite(suite, data_dir=data_dir, report=note)
    tasks = None if task is None else [_TASK_NAMES[name] for name in task]
    options = LoadOptions(
        base_url=base_url, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle
    )
    evaluations = []
    for name in dict.fromkeys(encoder):
        loaded = load_encoder(
            name,
            backend=backend,
            device=device,
            batch_size=batch_size,
            cache=not no_cache,
            report=note,
            options=options,
        )
        again = "the same command goes on from the cache" if not no_cache else "nothing was saved"
        with interruptible(again), progress_bar(f"embedding with {loaded.name}") as progress:
            evaluation = evaluate(
                loaded,
                data,
                tasks=tasks,
                k=k,
                seed=seed,
                average_similarity=average_similarity,
                progress=progress,
            )
        if (cut := evaluation.run.truncation) is not None and cut.n:
            shown = ", ".join(cut.items[:3]) + (", ..." if len(cut.items) > 3 else "")
            note(f"{loaded.name} cut {cut.n} prompts at {cut.max_tokens} tokens: {shown}")
        path = _run_path(output, loaded.name, data.name, several=len(set(encoder)) > 1)
        save_evaluation(evaluation, path)
        note(f"saved {path}")
        evaluations.append(evaluation)

    runs = [evaluation.run for evaluation in evaluations]
    if json_output:
        objects = [one.model_dump(mode="json") for one in runs]
        print_plain(json.dumps(objects[0] if len(objects) == 1 else objects, indent=1))
    else:
        print_result(run_tables(runs))


def _run_path(output: Path | None, encoder: str, suite: str, *, several: bool) -> Path:
    if output is None:
        now = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return Path("runs") / f"{suite}-{encoder}-{now}.json"
    return output.with_stem(f"{output.stem}-{encoder}") if several else output
