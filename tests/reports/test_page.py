"""The report: its numbers are the run file's, and no prompt can act in it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.benchmark import TASKS, Evaluation, score_of
from safe_embed.errors import InputError
from safe_embed.reports.figures import MapPoint
from safe_embed.reports.page import Source, report_page
from safe_embed.reports.untrusted import is_worst_kind, safe_json, visible

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")
pytest.importorskip("jinja2", reason="needs the extra report")

MINUS = "\N{MINUS SIGN}"


class Page(HTMLParser):
    """The elements of a page, the text of each script, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.shown = ""
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts[dict(attrs).get("id")] = ""

    def handle_endtag(self, _tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[list(self.scripts)[-1]] += data
        else:
            self.shown += data

    def data(self, name: str) -> dict:
        return json.loads(self.scripts[f"data-{name}"])


def make(evaluations: Sequence[Evaluation], **options: object) -> str:
    sources = [Source(name="<run>.json", sha256="2" * 64) for _ in evaluations]
    return report_page(evaluations, sources=sources, **options)


@pytest.fixture(scope="module")
def text(evaluations: list[Evaluation]) -> str:
    return make(evaluations, command="safe-embed report <a>.json")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def shown(value: float) -> str:
    return f"{value:.3f}".replace("-", MINUS)


def test_scores_are_those_of_the_runs(evaluations: list[Evaluation], page: Page):
    for one in evaluations:
        for task in TASKS:
            score = score_of(one.run, task)
            assert score is not None
            assert shown(score[0]) in page.shown
            assert f"{shown(score[1][0])} to {shown(score[1][1])}" in page.shown


def test_the_explorer_holds_every_item_with_its_numbers(evaluations: list[Evaluation], page: Page):
    data = page.data("explorer")
    assert data["encoders"] == ["apart", "<i>alike</i>"]
    assert len(data["items"]) == len(evaluations[0].items) == 36
    for number, one in enumerate(evaluations):
        for item, row in zip(one.items, data["items"], strict=True):
            assert row[1] == item.id
            assert data["texts"][row[3]] == visible(item.text)
            assert [data["texts"][other] for other in row[4]] == list(map(visible, item.others))
            assert row[5][number] == pytest.approx(item.score, abs=1e-4)
            assert row[6][number] == pytest.approx(item.cosines, abs=1e-3)
            if item.neighbors:
                found = [data["items"][at][1] for at in row[7][number]]
                assert found == item.neighbors


def test_chart_data_are_the_numbers_of_the_runs(evaluations: list[Evaluation], page: Page):
    charts = page.data("charts")
    (columns,) = charts["figure-challenging"]["datasets"].values()
    by_type = {
        (encoder, group): value
        for encoder, group, value in zip(
            columns["encoder"], columns["group"], columns["value"], strict=True
        )
    }
    for one in evaluations:
        challenging = one.run.tasks.safety_challenging
        assert challenging is not None
        for group, result in challenging.by_type.items():
            found = by_type[one.run.encoder.name, group]
            assert found == pytest.approx(result.normalized_similarity, abs=1e-4)
    (columns,) = charts["figure-boundary"]["datasets"].values()
    assert sorted(columns["value"]) == pytest.approx(
        sorted(
            item.score
            for one in evaluations
            for item in one.items
            if item.task == "safety_contrast"
        ),
        abs=1e-4,
    )


def test_the_pick_and_its_reasons_are_those_of_the_comparison(page: Page):
    assert "Take apart: it is better at telling look-alikes apart" in page.shown
    assert "Holm" in page.shown
    assert "the pick" in page.shown


def test_no_prompt_becomes_markup(text: str, page: Page):
    assert "<script>alert(1)</script>" not in text
    assert "<i>alike" not in text
    assert "onerror" not in {name for _, attributes in page.elements for name in attributes}
    assert not [tag for tag, _ in page.elements if tag in ("img", "i", "b", "iframe", "object")]
    # Their own scripts and our data, and nothing that a prompt opened.
    assert sum(tag == "script" for tag, _ in page.elements) == 2 + 4
    assert "<script>alert(1)</script>" in json.dumps(page.data("explorer"))
    assert "own <type>" in page.shown


def test_control_characters_are_shown(text: str, page: Page):
    assert "\0" not in text
    assert "\u202e" not in text
    texts = " ".join(page.data("explorer")["texts"])
    assert "a prompt with \N{SYMBOL FOR NULL} in it" in texts
    assert "a prompt with [U+202E] in it" in texts


def test_nothing_is_fetched(text: str, page: Page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    assert "@import" not in text.partition("<body>")[0]
    policy = next(one["content"] for _, one in page.elements if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline'; img-src data:" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]


def test_the_same_runs_give_the_same_page(evaluations: list[Evaluation], text: str):
    assert make(evaluations, command="safe-embed report <a>.json") == text


def test_every_figure_has_words_and_a_table(text: str):
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) == 4 + 2
    for figure in figures:
        assert re.search(r"<figcaption><p>.*\d.*</p></figcaption>", figure)
        assert "<table>" in figure
        assert "<details>" in figure


def test_one_run_makes_a_page_without_a_comparison(evaluations: list[Evaluation]):
    page = Page(make(evaluations[:1], home="index.html"))
    assert "Which to pick" not in page.shown
    assert "All encoders" in page.shown


def test_a_run_with_one_task_makes_a_page(evaluations: list[Evaluation]):
    for task in TASKS:
        found = []
        for one in evaluations:
            left = {other: None for other in TASKS if other != task}
            tasks = one.run.tasks.model_copy(update=left)
            items = [item for item in one.items if item.task == task]
            found.append(replace(one, run=one.run.model_copy(update={"tasks": tasks}), items=items))
        data = Page(make(found)).data("explorer")
        assert len(data["tasks"]) == 1
        assert len(data["items"]) == 12


def test_the_map_tells_no_folded_prompt(evaluations: list[Evaluation]):
    items = [item for item in evaluations[0].items if item.task == "safety_taxonomy"]
    texts = tuple(item.text for item in items)
    points = [
        MapPoint(x=0.1 * i, y=0, item=item, neighbor_texts=texts) for i, item in enumerate(items)
    ]
    page = Page(make(evaluations, maps={0: points}))
    (columns,) = page.data("charts")["figure-map-0"]["datasets"].values()
    assert len(columns["prompt"]) == 12
    for item, prompt in zip(items, columns["prompt"], strict=True):
        folded = item.group == "Adult Content"
        assert ("folded" in prompt) is folded
        assert folded is is_worst_kind(item.group)
    folded_texts = [visible(item.text) for item in items if is_worst_kind(item.group)]
    assert not [text for text in folded_texts if text in " ".join(columns["nearest"])]


def test_two_runs_of_one_name_are_told_apart(evaluations: list[Evaluation]):
    page = Page(make([evaluations[0], evaluations[0]]))
    assert page.data("explorer")["encoders"] == ["apart", "apart (2)"]
    assert "Take any of apart and apart (2): no difference" in page.shown


def test_runs_on_other_data_are_refused(evaluations: list[Evaluation]):
    suite = evaluations[1].run.suite.model_copy(update={"digests": {"all": "9" * 64}})
    other = replace(evaluations[1], run=evaluations[1].run.model_copy(update={"suite": suite}))
    with pytest.raises(InputError, match="different data"):
        make([evaluations[0], other])
    with pytest.raises(InputError, match="a run or more"):
        make([])


@given(st.text())
def test_json_stands_in_a_script_and_comes_back(text: str):
    found = safe_json({"text": text})
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found) == {"text": text}


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_visible_text_can_be_written_and_parsed(text: str):
    found = visible(text)
    found.encode("utf-8")
    assert "\0" not in found
    assert visible(found) == found
    assert html.unescape(html.escape(found)) == found


def test_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        safe_json(float("nan"))
