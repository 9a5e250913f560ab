"""The search file beside a store: mapped embeddings and the fast index over them.

It holds nothing that the store does not hold, so it is made again whenever it does not fit. The
layout: the sections one after the other, each at a multiple of 64 bytes; then a table of contents
in JSON; then 16 bytes that say how long that is, its CRC-32 and what file this is. The table has
the CRC-32 of each section except the embeddings, whose rows are checked when they are read, so that
a million of them open at once.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safe_embed.stores.blocks import Block
from safe_embed.stores.fast_search import FastIndex, can_index
from safe_embed.stores.row_data import Names, RowChecksums, row_checksums

__all__ = ["Origin", "Rows", "SidecarWriter", "read_sidecar"]

_FORMAT = 1
_TAIL = struct.Struct("<II8s")
_MAGIC = b"SEMBFAST"
_ALIGNMENT = 64


class Origin(NamedTuple):
    """Which state of which store a search file was made from.

    Args:
        key: of the store, see `Identity`.
        version: of the store.
        time: of that version, which tells it from one of the same number after a restored copy.
        dimension: number of values in an embedding.
        fast: whether large blocks have a fast index.
    """

    key: str
    version: int
    time: str
    dimension: int
    fast: bool


class Rows(NamedTuple):
    """A chunk of rows: `numbers`, `codes` and `matrix` of a `Block`."""

    numbers: NDArray[np.int64]
    codes: NDArray[np.int32]
    matrix: NDArray[np.float32]


class SidecarWriter:
    """Writes a search file from chunks of rows, of which one is in memory at a time.

    Args:
        file: to write to, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._blocks: dict[str, dict[str, list[Any]]] = {}

    def add_block(self, label: str, chunks: Iterable[Rows], fast: FastIndex | None) -> None:
        """Writes the rows of one label, and fills the fast index with them.

        Args:
            label: names the block.
            chunks: in ascending order of their numbers.
            fast: trained and empty; None for a block that is searched exactly.
        """
        numbers, codes, checksums = [], [], []
        start = self._position
        for chunk in chunks:
            self._write(np.ascontiguousarray(chunk.matrix, dtype="<f4").data)
            numbers.append(chunk.numbers)
            codes.append(chunk.codes.ravel())
            checksums.append(row_checksums(chunk.matrix, chunk.numbers))
            if fast is not None:
                fast.add(chunk.matrix)
        sections = {"matrix": [start, self._position - start, None]}
        self._pad()
        sections["numbers"] = self._section(_concatenated(numbers, np.int64))
        sections["codes"] = self._section(_concatenated(codes, np.int32))
        sections["checksums"] = self._section(_concatenated(checksums, np.uint64))
        if fast is not None:
            sections["fast"] = self._section(fast.to_bytes())
        self._blocks[label] = sections

    def finish(self, origin: Origin, names: Names) -> None:
        """Writes the table of contents."""
        table = {"origin": origin._asdict(), "names": names.names, "blocks": self._blocks}
        data = json.dumps(table).encode()
        self._write(data)
        self._write(_TAIL.pack(len(data), zlib.crc32(data), _MAGIC[:-1] + bytes([_FORMAT])))

    def _section(self, array: NDArray[Any]) -> list[Any]:
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data
        start = self._position
        self._write(data)
        self._pad()
        return [start, data.nbytes, zlib.crc32(data)]

    def _pad(self) -> None:
        self._write(bytes(-self._position % _ALIGNMENT))

    def _write(self, data: bytes | memoryview) -> None:
        self._position += self._file.write(data)


def read_sidecar(
    source: Path | memoryview, accepts: Mapping[str, Any]
) -> tuple[Origin, Names, dict[str, Block]] | None:
    """Opens a search file.

    Args:
        source: the file, which is mapped, or its contents.
        accepts: fields of the origin and what they must be.

    Returns:
        None where there is none, it is damaged, or it was made from something else.
    """
    try:
        buffer = source if isinstance(source, memoryview) else _mapped(source)
        size, checksum, magic = _TAIL.unpack(buffer[-_TAIL.size :])
        data = buffer[-_TAIL.size - size : -_TAIL.size]
        if magic != _MAGIC[:-1] + bytes([_FORMAT]) or zlib.crc32(data) != checksum:
            return None
        table = json.loads(bytes(data))
        origin = Origin(**table["origin"])
        if any(getattr(origin, field) != value for field, value in accepts.items()):
            return None
        names = Names()
        for name in table["names"]:
            names.number(name)
        blocks = {
            label: _block(buffer, sections, origin.dimension)
            for label, sections in table["blocks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return origin, names, blocks


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        # The mapping outlives the file's name, so another process may publish a newer one.
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _block(buffer: memoryview, sections: Mapping[str, Sequence[Any]], dimension: int) -> Block:
    def array(name: str, dtype: str) -> NDArray[Any]:
        start, size, checksum = sections[name]
        part = buffer[start : start + size]
        if checksum is not None and zlib.crc32(part) != checksum:
            raise ValueError(name)
        if len(part) != size:
            raise ValueError(name)
        return np.frombuffer(part, dtype=dtype)

    fast = None
    if "fast" in sections:
        if not can_index(dimension):
            raise ValueError("fast")
        fast = FastIndex.from_bytes(array("fast", "u1"))
    return Block(
        numbers=array("numbers", "<i8"),
        codes=array("codes", "<i4").reshape(-1, 3),
        matrix=array("matrix", "<f4").reshape(-1, dimension),
        checksums=RowChecksums(array("checksums", "<u8")),
        fast=fast,
    )


def _concatenated(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])
