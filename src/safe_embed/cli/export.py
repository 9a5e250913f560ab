"""`safe-embed export`: an encoder as a folder that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safe_embed.cli.options import DataDirOption
from safe_embed.cli.output import note, print_result, progress_bar

__all__ = ["export"]

MIN_COSINE = 0.9999  # of an export in float32 with its original; below it something is wrong


def export(
    *,
    to: Annotated[Path, typer.Option(help="New directory to write.", show_default=False)],
    encoder: Annotated[str, typer.Option(help="Name in the catalogue, or a directory.")] = "minilm",
    suite: Annotated[
        str, typer.Option(help="Suite on whose texts the export is compared with the original.")
    ] = "bundled",
    data_dir: DataDirOption = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Dense layers in int8: faster and smaller, a little off."),
    ] = False,
) -> None:
    """Write an encoder as an ONNX folder that needs onnxruntime and tokenizers alone."""
    from safe_embed.benchmark import load_suite, measure_agreement
    from safe_embed.encoders import load_encoder
    from safe_embed.encoders.export import CARD_FILE, open_export, write_export
    from safe_embed.errors import EncoderError, InputError
    from safe_embed.files import atomic_directory

    if to.exists():
        raise InputError(f"{to} exists; name a new directory with --to")
    data = load_suite(suite, data_dir=data_dir, report=note)
    original = load_encoder(encoder, report=note)
    typical = load_suite().baseline  # of the bundled suite, so that the folder is the same anywhere
    with atomic_directory(to) as directory:
        write_export(
            original, directory, int8_texts=(*typical.head, *typical.tail) if int8 else None
        )
        exported = open_export(directory, name=original.name)
        with progress_bar("comparing with the original") as progress:
            found = measure_agreement(original, exported, data, progress=progress)
        if not int8 and found.min_cosine < MIN_COSINE:
            raise EncoderError(
                f"the export differs from its original: a cosine of {found.min_cosine:.6f}, at "
                f"least {MIN_COSINE} is required; nothing was written"
            )
        lines = [
            f"cosine with the original on {found.n} texts",
            f"  mean    {found.mean_cosine:.7f}",
            f"  lowest  {found.min_cosine:.7f}",
            f"correlation of the cosines of pairs: {found.pair_correlation:.6f}",
            *(
                f"change in {task}: {round(change, 6) + 0:+.6f}"
                for task, change in found.score_changes.items()
            ),
        ]
        with (directory / CARD_FILE).open("a", encoding="utf-8") as card:
            card.write("\n".join(("\n```text", f"suite {data.name}", *lines, "```\n")))
    print_result("\n".join([f"exported {original.name} to {to}", *lines]))
