"""The same questions through a Batch API: files of requests, jobs, and answers hours later."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safe_embed.contrast.api import Api
from safe_embed.contrast.api_answers import RefusedError, error_of
from safe_embed.contrast.batch_jobs import (
    JobStatus,
    create_job,
    download,
    find_job,
    request_files,
    status_of,
    upload,
)
from safe_embed.contrast.batch_state import BatchState, Part, load_state, save_state, state_path
from safe_embed.contrast.budget import Budget, Spent
from safe_embed.contrast.chat import ChatError, OpenAIChat, read_completion
from safe_embed.contrast.editing import (
    Editor,
    EditSettings,
    edit_request,
    journal_settings,
    read_edits,
)
from safe_embed.contrast.journal import Journal
from safe_embed.contrast.outcome import Summary, journal_path, write_outputs
from safe_embed.contrast.source import Item, PromptSource
from safe_embed.errors import InputError

__all__ = ["collect", "status", "submit"]


def submit(
    source: PromptSource,
    settings: EditSettings,
    model: str,
    api: Api,
    out: Path,
    *,
    report: Callable[[str], None] = lambda _message: None,
) -> BatchState:
    """Hands the questions for all prompts to the API, in one job or several.

    What was handed over is written down at once: after an interrupt the same call goes on, and a
    job that was made without its answer being heard is found again by its metadata.

    Args:
        source: the prompts.
        settings: what is asked for.
        model: what the API calls the model.
        api: where the jobs are made.
        out: the output file that `collect` will write.
        report: is called with a line for people.

    Raises:
        InputError: all was submitted before, the prompts or settings have changed since, or the
            API refuses.
        DataError: the prompts or the state cannot be read.
        StorageError: the state cannot be written.
    """
    state = _state(source, settings, model, api, out)
    submitted = 0
    for number, content in enumerate(request_files(source, settings, model)):
        digest = hashlib.sha256(content).hexdigest()
        if number == len(state.parts):
            state.parts.append(Part(n=content.count(b"\n"), sha256=digest))
        part = state.parts[number]
        if part.sha256 != digest:
            raise InputError(
                f"{source.path} has changed since a part of it was submitted; take the old file, "
                f"or another --out, or remove {state_path(out)}"
            )
        if part.batch_id is not None:
            continue
        if part.file_id is None:
            part.file_id = upload(api, content, f"safe-embed-{state.run_id}-{number}.jsonl")
            save_state(state, out)
        part.batch_id = create_job(api, state.run_id, number, part.file_id)
        save_state(state, out)
        submitted += 1
        report(f"{part.batch_id}: {part.n:,} prompts")
    if not submitted:
        raise InputError(
            f"{state_path(out)}: all jobs were submitted before; see `safe-embed contrast batch "
            "status`, or choose another --out"
        )
    return state


def status(state: BatchState, api: Api) -> list[JobStatus]:
    """Asks how far each job is.

    Raises:
        InputError: the API refuses, or a job was never made.
    """
    return [status_of(_job(api, part)) for part in state.parts]


def collect(
    api: Api, out: Path, *, report: Callable[[str], None] = lambda _message: None
) -> Summary:
    """Fetches the answers that are there, and writes what is valid; may be called again.

    They go into the journal that `generate` writes, so `generate` with `resume` and the same
    settings can ask for what is left.

    Args:
        api: where the jobs are.
        out: the output file for which they were submitted.
        report: is called with a line for people.

    Raises:
        InputError: the API refuses, or a job was never made.
        DataError: the prompts, the state or the journal cannot be read.
        StorageError: a file cannot be written.
    """
    state = load_state(out)
    settings = state.settings()
    source = PromptSource(state.prompts, settings.direction)
    chat = OpenAIChat(state.model, api, budget=Budget())
    spent = Spent()
    with (
        Journal(
            journal_path(out), journal_settings(settings, state.model, None), resume=True
        ) as journal,
        tempfile.TemporaryDirectory(prefix="safe-embed-") as directory,
    ):
        editor = Editor(settings=settings, chat=chat, journal=journal)
        answers = _Answers(Path(directory, "answers.jsonl"))
        for part in state.parts:
            answers.fetch(api, _job(api, part), report)
        for item in source:
            line = None if journal.ended(item.task_id) else answers.of(item)
            if line is not None:
                spent = spent.plus(_end(editor, item, line))
        journal.sync()
        summary = write_outputs(source, journal, out, direction=settings.direction)
    return replace(summary, spent=spent)


class _Answers:
    """The lines of all answers in one file, found by their ids; in memory are their places."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, int] = {}
        path.touch()

    def fetch(self, api: Api, job: dict[str, Any], report: Callable[[str], None]) -> None:
        told = status_of(job)
        if not told.over:
            report(f"{told.batch_id}: {told.status}, {told.completed:,} of {told.total:,} done")
            return
        if told.message:
            report(f"{told.batch_id}: {told.status}: {told.message}")
        for name in ("error_file_id", "output_file_id"):
            if isinstance(file_id := job.get(name), str) and file_id:
                fetched = self._path.with_name("fetched.jsonl")
                download(api, file_id, fetched)
                damaged = self._add(fetched)
                if damaged:
                    report(f"{told.batch_id}: {damaged:,} lines of {name} cannot be read")

    def of(self, item: Item) -> dict[str, Any] | None:
        place = self._places.get(item.task_id)
        if place is None:
            return None
        with self._path.open("rb") as file:
            file.seek(place)
            found: dict[str, Any] = json.loads(file.readline())
        return found

    def _add(self, fetched: Path) -> int:
        """Adds the lines of a file; returns how many cannot be read."""
        damaged = 0
        with fetched.open("rb") as lines, self._path.open("ab") as file:
            for line in lines:
                try:
                    name = json.loads(line)["custom_id"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    damaged += 1
                    continue
                self._places[str(name)] = file.tell()
                file.write(line.rstrip(b"\n") + b"\n")
        return damaged


def _end(editor: Editor, item: Item, line: dict[str, Any]) -> Spent:
    """Takes a prompt to its end by the line of its answer; returns what that used."""
    request = edit_request(item, editor.settings)
    try:
        answer = read_completion(_completion(line), request, editor.chat.model, 1)
        edits = read_edits(answer, item, editor.settings)
    except ChatError as error:
        editor.reject(item, error)
        return Spent(requests=1)
    editor.accept(item, {"edits": edits, "provenance": editor.provenance(answer, None)})
    return Spent(requests=1, tokens=answer.usage.total)


def _completion(line: dict[str, Any]) -> dict[str, Any]:
    response = line.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    if isinstance(response, dict) and response.get("status_code") == 200 and isinstance(body, dict):
        return body
    message = error_of(line["error"] if line.get("error") else body)
    if "batch_expired" in message:
        raise ChatError("timeout", message)
    filtered = RefusedError(message).filtered
    raise ChatError("content filter" if filtered else "server error", message)


def _state(
    source: PromptSource, settings: EditSettings, model: str, api: Api, out: Path
) -> BatchState:
    """The state of an earlier call with the same settings, or a new one."""
    new = BatchState(
        run_id=secrets.token_hex(8),
        prompts=source.path.absolute(),
        model=model,
        base_url=api.url,
        direction=settings.direction,
        n=settings.n,
        max_edit=settings.max_edit,
        temperature=settings.temperature,
        template=settings.template.text,
        template_sha256=settings.template.digest,
    )
    if not state_path(out).exists():
        save_state(new, out)
        return new
    old = load_state(out)
    apart = {"run_id", "parts", "prompts", "template"}
    before, now = old.model_dump(exclude=apart), new.model_dump(exclude=apart)
    for name in now:
        if before[name] != now[name]:
            raise InputError(
                f"{state_path(out)} is of a submission with {name} {before[name]!r}, and now it is "
                f"{now[name]!r}: use the same, or another --out"
            )
    return old


def _job(api: Api, part: Part) -> dict[str, Any]:
    if part.batch_id is None:
        raise InputError(
            "a part was never submitted; run `safe-embed contrast batch submit` again, which goes "
            "on where it stopped"
        )
    return find_job(api, part.batch_id)
