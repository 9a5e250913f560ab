"""Pages: Jinja templates with our styles and scripts in them, so that nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from safe_embed.errors import MissingExtraError
from safe_embed.reports.task_words import number, p_text, signed
from safe_embed.reports.untrusted import safe_json, visible

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["packed_spec", "render"]

_PACKAGE = "safe_embed.reports"
_END_OF_SCRIPT = re.compile(r"<(?=/script|!--)", re.IGNORECASE)


def render(
    template: str,
    context: Mapping[str, Any],
    *,
    data: Mapping[str, Any],
    scripts: Sequence[str],
    with_charts: bool,
) -> str:
    """Fills a template.

    Args:
        template: name of a file in `templates/`.
        context: of the template; strings are escaped, and control characters made visible.
        data: JSON by name, which scripts find in `#data-NAME`.
        scripts: names of our scripts in `templates/`, in the order in which they run.
        with_charts: whether the page has charts, and so needs Vega.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    sources = [_chart_library()] if with_charts else []
    sources += [_asset(name) for name in scripts]
    # A page that runs only these scripts and may reach no address cannot be made to do otherwise
    # by a prompt in it. Vega compiles its expressions, hence unsafe-eval.
    hashes = " ".join(f"'sha256-{_digest(source)}'" for source in sources)
    policy = (
        f"default-src 'none'; script-src {hashes}{' ' + _EVAL if with_charts else ''}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            version=metadata.version("safe-embed"),
            policy=policy,
            style=_asset("report.css"),
            scripts=sources,
            data={name: safe_json(value) for name, value in data.items()},
        )
    )


_EVAL = "'unsafe-eval'"


def packed_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Vega-Lite specification whose data sets are columns: a third of the size.

    `charts.js` makes rows of them again.
    """
    packed = dict(spec)
    packed["datasets"] = {
        name: {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
        for name, rows in spec.get("datasets", {}).items()
    }
    return packed


@cache
def _environment() -> Environment:
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("report", needed_for="a report") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {"number": number, "signed": signed, "p_text": p_text}
    return environment


@cache
def _chart_library() -> str:
    try:
        import vl_convert
    except ImportError:
        raise MissingExtraError("report", needed_for="a report") from None
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return _END_OF_SCRIPT.sub(r"\\x3c", bundle)


@cache
def _asset(name: str) -> str:
    return (resources.files(_PACKAGE) / "templates" / name).read_text("utf-8")


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
