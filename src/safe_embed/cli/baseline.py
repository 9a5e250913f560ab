"""`safe-embed baseline`: an encoder's average similarity."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

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

__all__ = ["baseline"]


def baseline(
    *,
    encoder: Annotated[str, typer.Option(help="Name in the catalogue, or a directory.")] = "minilm",
    data: Annotated[
        Path | None,
        typer.Option(
            help="File of prompts (CSV, JSONL or Parquet). BeaverTails 30k_train is sampled as in "
            "the paper; any other file is split into two halves of at most 500. "
            "By default the bundled baseline prompts.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
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
    """Measure an encoder's average similarity: the cosine of two arbitrary prompts."""
    from safe_embed.benchmark import load_baseline, measure_average_similarity
    from safe_embed.encoders import LoadOptions, load_encoder

    prompts = load_baseline(data, data_dir=data_dir)
    options = LoadOptions(
        base_url=base_url, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle
    )
    loaded = load_encoder(
        encoder,
        backend=backend,
        device=device,
        batch_size=batch_size,
        cache=not no_cache,
        report=note,
        options=options,
    )
    again = "the same command starts anew"
    with interruptible(again), progress_bar(f"embedding with {loaded.name}") as progress:
        measured = measure_average_similarity(loaded, prompts, seed=seed, progress=progress)
    if json_output:
        fields = {
            "encoder": {"name": loaded.name, "fingerprint": loaded.fingerprint},
            "data": prompts.name,
            "published_average_similarity": loaded.published_average_similarity,
            **asdict(measured),
        }
        print_plain(json.dumps(fields, indent=1))
        return
    low, high = measured.ci95
    published = loaded.published_average_similarity
    print_result(
        f"average similarity of {loaded.name} on {prompts.name}, "
        f"{measured.n_head} x {measured.n_tail} pairs\n"
        f"mean                {measured.mean:.4f}   95 % interval {low:.4f} to {high:.4f}\n"
        f"median              {measured.median:.4f}\n"
        f"standard deviation  {measured.standard_deviation:.4f}"
        + ("" if published is None else f"\npublished           {published:.3f}")
    )
