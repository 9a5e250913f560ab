"""The embeddings behind a run file, which holds none: the same encoder encodes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safe_embed.cli.output import note, progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safe_embed.benchmark import Run

__all__ = ["embed_again"]


def embed_again(run: Run, texts: Sequence[str], encoder: str | None = None) -> NDArray[np.float32]:
    """Embeds texts with the encoder of a run, most often from the cache.

    Args:
        run: names the encoder and its fingerprint.
        texts: any number of texts.
        encoder: where it is, when the run's name alone does not tell, such as a directory.

    Raises:
        InputError: what has that name now is not the encoder of the run.
    """
    from safe_embed.encoders import load_encoder
    from safe_embed.encoders.embedded import EmbeddedTexts
    from safe_embed.errors import InputError, UnknownNameError

    try:
        loaded = load_encoder(encoder or run.encoder.name, cache=True, report=note)
    except UnknownNameError as error:
        raise InputError(
            f"the map needs the encoder {run.encoder.name!r} of the run; say where it is with "
            "--encoder"
        ) from error
    if loaded.fingerprint != run.encoder.fingerprint:
        raise InputError(
            f"{encoder or run.encoder.name} is not the encoder of the run (fingerprint "
            f"{loaded.fingerprint[:12]}..., in the run {run.encoder.fingerprint[:12]}...); name it "
            "with --encoder, or run it again"
        )
    with progress_bar(f"embedding with {loaded.name}") as progress:
        return EmbeddedTexts.embed(loaded, texts, progress=progress).of(texts)
