"""A chart as a file, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safe_embed.errors import MissingExtraError
from safe_embed.files import atomic_file

__all__ = ["SUFFIXES", "save_figure"]

SUFFIXES = (".png", ".svg", ".pdf")

_SCALE = 300 / 72  # pixels of a PNG for one of the chart, which is 1/72 inch


def save_figure(chart: Any, path: Path) -> None:  # noqa: ANN401 - any chart of Altair
    """Writes a chart; the suffix tells the format, one of `SUFFIXES`.

    Raises:
        MissingExtraError: vl-convert is not installed.
        StorageError: the file cannot be written.
    """
    try:
        import vl_convert
    except ImportError:
        raise MissingExtraError("report", needed_for="figures") from None
    spec = chart.to_json()
    content: bytes
    match path.suffix.lower():
        case ".png":
            content = vl_convert.vegalite_to_png(spec, scale=_SCALE, ppi=72)
        case ".svg":
            content = vl_convert.vegalite_to_svg(spec).encode()
        case _:
            content = vl_convert.vegalite_to_pdf(spec)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
