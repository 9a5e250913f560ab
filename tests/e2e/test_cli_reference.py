"""docs/cli.md is what `--help` prints, verb by verb; written again with `make golden`."""

from __future__ import annotations

import os
import subprocess
import sys

from safe_embed.benchmark import Run
from tests.conftest import REPOSITORY
from tests.e2e.conftest import UPDATE_VARIABLE, Cli

REFERENCE = REPOSITORY / "docs" / "cli.md"
VERBS = (
    (),
    ("check",),
    ("run",),
    ("compare",),
    ("report",),
    ("plot",),
    ("leaderboard",),
    ("baseline",),
    ("export",),
    ("train",),
    ("calibrate",),
    ("detect-eval",),
    ("index",),
    ("index", "build"),
    ("index", "add"),
    ("index", "mute"),
    ("index", "remove"),
    ("index", "list"),
    ("index", "stats"),
    ("index", "history"),
    ("index", "diff"),
    ("index", "revert"),
    ("index", "reembed"),
    ("contrast",),
    ("contrast", "generate"),
    ("contrast", "parse"),
    ("contrast", "check"),
    ("contrast", "batch"),
    ("contrast", "batch", "submit"),
    ("contrast", "batch", "status"),
    ("contrast", "batch", "collect"),
    ("data",),
    ("data", "list"),
    ("data", "info"),
    ("data", "fetch"),
    ("data", "check"),
    ("encoders",),
    ("encoders", "list"),
    ("encoders", "info"),
    ("encoders", "fetch"),
)
HEAD = """# Command line

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check found problems or
some prompts were rejected, 2 something that you can mend (one line on stderr says what), 10 and 11
review and block with `check --exit-code`, 130 interrupted.
`NO_COLOR` is honoured. `--debug` before the verb shows the traceback of an error.

| variable | meaning |
|---|---|
| `SAFE_EMBED_CACHE_DIR` | weights, graphs, embeddings, in place of the platform's cache directory |
| `SAFE_EMBED_DATA_DIR` | fetched data sets, in place of the platform's data directory |
| `OPENAI_API_KEY` | key of an API, here or in a file `.env` in the working directory |
| `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` | as everywhere with the model hub |

This page is written by `make golden` from the `--help` of each verb.
"""


def test_golden_reference(cli: Cli) -> None:
    parts = [HEAD]
    for verb in VERBS:
        done = cli(*verb, "--help")
        assert done.code == 0
        name = " ".join(("safe-embed", *verb))
        lines = "\n".join(line.rstrip() for line in done.out.strip().splitlines())
        parts.append(f"\n## {name}\n\n```text\n{lines}\n```\n")
    text = "".join(parts)
    if os.environ.get(UPDATE_VARIABLE):
        REFERENCE.write_text(text, encoding="utf-8")
    assert text == REFERENCE.read_text("utf-8"), "docs/cli.md is stale: `make golden`"


def test_every_verb_is_in_the_reference(cli: Cli) -> None:
    for group in ((), ("data",), ("encoders",), ("contrast",), ("contrast", "batch"), ("index",)):
        listed = cli(*group, "--help").out.partition("Commands:")[2]
        for line in listed.strip().splitlines():
            assert (*group, line.split()[0]) in VERBS


def test_version(cli: Cli) -> None:
    assert cli("--version").out.startswith("safe-embed 0.")


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "safe_embed", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("safe-embed ")


def test_usage_errors_exit_with_2(cli: Cli) -> None:
    done = cli("run", "--task", "contrasts")
    assert done.code == 2
    assert "contrasts" in done.err
    assert done.out == ""


def test_help_page_of_run_names_every_setting(cli: Cli) -> None:
    text = cli("run", "--help").out
    for name in Run.model_fields["settings"].annotation.model_fields:  # type: ignore[union-attr]
        if name != "n_resamples":
            assert f"--{name.removesuffix('s')}" in text
