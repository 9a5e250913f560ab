"""What a person names where prompts are wanted: a file, a data set, or a split of the hub.

A name is one of these, and the first that fits counts:

- a path that exists;
- `hub:ORG/NAME[@REVISION][:[CONFIG/]SPLIT]`: a split of the hub;
- `safe-embed-core[:SPLIT[/PART]]`: our own data set;
- a data set of the catalogue;
- any other path, which is an error that says so.

`unsafe:` or `safe:` before it says that every prompt without a label has this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from safe_embed.datasets import catalogue
from safe_embed.datasets.catalogue import DataSet
from safe_embed.datasets.core_set import CORE
from safe_embed.datasets.hub_splits import HUB_PREFIX, HubName
from safe_embed.errors import UnknownNameError
from safe_embed.records import Label

__all__ = ["Named", "resolve"]


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means: one of `path`, `hub`, `core` and `data_set` is not None."""

    label: Label | None
    path: Path | None = None
    hub: HubName | None = None
    core: str | None = None
    """What stands behind `safe-embed-core:`; empty for the name alone."""
    data_set: DataSet | None = None


def resolve(name: str) -> Named:
    """Says what a name means; no file is opened, and nothing fetched.

    Raises:
        InputError: it begins as a name of the hub, and is none.
        UnknownNameError: it can be no path, and no data set has that name.
    """
    label, rest = _label_and_rest(name)
    path = Path(rest)
    if path.exists():
        return Named(label, path=path)
    if rest.startswith(HUB_PREFIX):
        return Named(label, hub=HubName.parse(rest))
    core, colon, part = rest.partition(":")
    if core == CORE and bool(colon) == bool(part):
        return Named(label, core=part)
    known = {one.name: one for one in catalogue.rows()}
    if rest in known:
        return Named(label, data_set=known[rest])
    if path.suffix or path.name != rest:
        return Named(label, path=path)
    remedy = "There is no file of that name either."
    raise UnknownNameError("data set", rest, known, remedy=remedy)


def _label_and_rest(name: str) -> tuple[Label | None, str]:
    for label in cast("tuple[Label, ...]", get_args(Label)):
        if name.startswith(f"{label}:") and not Path(name).exists():
            return label, name.removeprefix(f"{label}:")
    return None, name
