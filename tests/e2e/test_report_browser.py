"""The report in Chromium, opened from disk with the network off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from safe_embed.benchmark import Evaluation, evaluate
from safe_embed.reports.figures import MapPoint
from safe_embed.reports.leaderboard import Entry, leaderboard_page
from safe_embed.reports.page import Source, report_page
from tests.reports.conftest import HashEncoder, hostile_suite

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"wide": (1440, 900), "phone": (390, 844)}
DRAWN = """[...document.querySelectorAll('[data-chart]')]
    .filter((one) => one.offsetParent).every((one) => one.dataset.state === 'drawn')"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is absent"),
]


@dataclass
class Opened:
    page: playwright.Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def go(self, path: Path) -> None:
        self.page.goto(path.as_uri())
        self.page.wait_for_function(DRAWN)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    # Not the module's own asyncio: pytest's other tests must find no running loop.
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def opened(request: pytest.FixtureRequest, chromium: playwright.Browser) -> Iterator[Opened]:
    width, height = SIZES[request.param]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="light"
    )
    context.set_offline(True)
    found = Opened(context.new_page())
    found.page.set_default_timeout(20_000)
    found.page.route(
        lambda url: not url.startswith(("file:", "data:")),
        lambda route: (found.requests.append(route.request.url), route.abort()),
    )
    found.page.on(
        "console",
        lambda message: message.type == "error" and found.complaints.append(message.text),
    )
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("dialog", lambda dialog: found.complaints.append(dialog.message))
    yield found
    assert found.complaints == []
    assert found.requests == []
    context.close()


@pytest.fixture(scope="module")
def evaluations() -> list[Evaluation]:
    suite = hostile_suite(300)
    encoders = (HashEncoder("apart", 2.0), HashEncoder("<i>alike</i>", 0.05))
    return [evaluate(one, suite, k=3, n_resamples=50) for one in encoders]


@pytest.fixture(scope="module")
def report(evaluations: list[Evaluation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = [item for item in evaluations[0].items if item.task == "safety_taxonomy"]
    points = [
        MapPoint(x=i % 20 / 10 - 1, y=i // 20 / 10 - 1, item=item, neighbor_texts=(item.text,))
        for i, item in enumerate(items)
    ]
    text = report_page(
        evaluations,
        sources=[Source(name=f"{name}.json", sha256="2" * 64) for name in "ab"],
        maps={0: points, 1: points[::-1]},
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def site(
    evaluations: list[Evaluation], report: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    entries = [Entry(evaluation=one, page=report.as_uri()) for one in evaluations]
    path = tmp_path_factory.mktemp("site") / "index.html"
    path.write_text(leaderboard_page(entries), encoding="utf-8")
    return path


def scores(opened: Opened) -> list[float]:
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in opened.texts(".row .score")]


def test_every_section_is_there_and_every_chart_is_drawn(opened: Opened, report: Path):
    opened.go(report)
    for name in ("pick", "encoders", "figures", "confusion", "map", "explorer", "provenance"):
        assert opened.page.locator(f"section#{name} h2").is_visible()
    assert opened.page.locator("[role=note]").is_visible()
    assert opened.page.locator(".chart:visible svg").count() == 4 + 1 + 1
    assert opened.page.locator("summary:has-text('actions')").count() == 0
    width = opened.page.viewport_size["width"]
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_list_is_sorted_and_only_partly_drawn(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    first = scores(opened)
    assert first == sorted(first, reverse=True)
    assert 4 < len(first) < 40
    assert page.locator("#explorer-count").inner_text().startswith("300 of 300 pairs")
    page.locator("#explorer-order").select_option("best")
    best = scores(opened)
    assert best == sorted(best)
    assert best[0] < first[0]
    page.locator("#explorer-list").evaluate("(list) => list.scrollTop = list.scrollHeight")
    page.wait_for_selector("#item-299")
    assert scores(opened)[-1] == first[0]
    assert page.locator(".row").count() < 40


def test_task_category_encoder_and_search_filter(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    page.locator("#explorer-group").select_option(label="own <type>")
    assert page.locator("#explorer-count").inner_text().startswith("150 of 300")
    assert all("own <type>" in text for text in opened.texts(".row .head"))
    page.locator("#explorer-task").select_option(label="Pairs and contrast sets")
    assert page.locator("#explorer-count").inner_text().startswith("150 of 600")
    page.locator("#explorer-group").select_option(label="All")
    assert page.locator("#explorer-count").inner_text().startswith("600 of 600")
    before = scores(opened)
    page.locator("#explorer-encoder").select_option(label="<i>alike</i>")
    assert scores(opened) != before
    page.locator("#explorer-search").fill("PROCESS 299")
    page.wait_for_function("document.querySelectorAll('.row').length < 3")
    assert page.locator("#explorer-count").inner_text().startswith("1 of 600")
    page.locator("#explorer-search").fill("no such text")
    page.wait_for_function("document.querySelectorAll('.row').length === 0")
    assert "Nothing fits" in page.locator("#explorer-detail").inner_text()


def test_changed_words_are_marked_and_prompts_show_as_text(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    page.locator("#explorer-search").fill("<script>alert(1)</script> How do I kill a person 5?")
    page.wait_for_function("document.querySelectorAll('.row').length === 1")
    assert opened.texts(".row mark.before") == ["person"]
    assert opened.texts(".row mark.after") == ["process"]
    shown = page.locator("#explorer-detail .prompt").inner_text()
    assert shown == "<script>alert(1)</script> How do I kill a person 5?"
    page.locator("#explorer-search").fill("␀ in it How do I kill a person 2?")
    page.wait_for_function("document.querySelector('.row .side')?.textContent.includes('␀')")


def test_the_worst_prompts_are_folded_until_asked_for(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    page.locator("#explorer-task").select_option(label="Safety-Contrast: contrast sets")
    page.locator("#explorer-group").select_option(label="adult")
    assert page.locator(".row .folded").count() == page.locator(".row").count()
    assert "unsafe" not in page.locator("#explorer-list").inner_text()
    page.get_by_role("button", name="Unfold this prompt").click()
    assert "unsafe" in page.locator("#explorer-detail .prompt").inner_text()
    assert page.locator(".row .folded").count() == page.locator(".row").count() - 1
    page.locator("#explorer-unfold").check()
    assert page.locator(".row .folded").count() == 0


def test_the_keyboard_moves_the_choice(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    explorer = page.locator("#explorer-list")
    explorer.focus()
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 299)):
        page.keyboard.press(key)
        assert explorer.get_attribute("aria-activedescendant") == f"item-{place}"
        assert page.locator("[aria-selected=true]").get_attribute("id") == f"item-{place}"
    page.keyboard.press("Home")
    assert explorer.evaluate("(list) => list.scrollTop") == 0


def test_the_theme_changes_and_is_remembered(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Use the dark theme").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Use the light theme").click()
    assert page.evaluate(background) == light


def test_the_map_tells_on_hover_and_filters_by_its_legend(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    chart = page.locator("#map .chart:visible")
    chart.scroll_into_view_if_needed()
    chart.locator(".mark-symbol.role-mark path").nth(20).hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    tooltip = page.locator("#vg-tooltip-element").inner_text()
    assert all(word in tooltip for word in ("prompt", "category", "purity", "nearest"))
    assert "<script>alert(1)</script>" in tooltip or "folded" in tooltip or "unsafe" in tooltip
    faint = ".mark-symbol.role-mark path[opacity='0.06']"
    assert chart.locator(faint).count() == 0
    chart.locator(".role-legend-label text, .role-legend-symbol path").first.click(force=True)
    page.wait_for_function(
        "(faint) => document.querySelectorAll('#map .chart ' + faint).length > 0", arg=faint
    )


def test_another_encoder_can_be_chosen_for_the_map(opened: Opened, report: Path):
    opened.go(report)
    page = opened.page
    page.get_by_label("Encoder of the map").select_option(label="<i>alike</i>")
    assert page.locator("#figure-map-1").is_visible()
    assert not page.locator("#figure-map-0").is_visible()
    page.wait_for_function("document.querySelector('#figure-map-1 svg') !== null")


def test_print_shows_the_first_twenty(opened: Opened, report: Path):
    opened.go(report)
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator(".row").count() == 20
    assert not opened.page.locator(".top").is_visible()


def test_20_000_pairs_are_listed_with_a_handful_of_rows(
    opened: Opened, evaluations: list[Evaluation], tmp_path: Path
):
    base = evaluations[0]
    pairs = [item for item in base.items if item.task == "safety_challenging"]
    many = [replace(pairs[i % 300], id=f"many-{i}") for i in range(20_000)]
    rest = [item for item in base.items if item.task != "safety_challenging"]
    text = report_page(
        [replace(base, items=[*many, *rest])], sources=[Source(name="a.json", sha256="2" * 64)]
    )
    path = tmp_path / "many.html"
    path.write_text(text, encoding="utf-8")
    opened.go(path)
    page = opened.page
    assert page.locator("#explorer-count").inner_text().startswith("20,000 of 20,000")
    assert page.locator(".row").count() < 40
    page.locator("#explorer-list").focus()
    page.keyboard.press("End")
    assert page.locator("#item-19999").is_visible()
    assert page.locator(".row").count() < 40


def test_the_leaderboard_sorts_and_leads_to_the_reports(opened: Opened, site: Path):
    opened.go(site)
    page = opened.page
    names = "tbody th"
    first = opened.texts(f".sortable {names}")
    assert page.locator(".sortable th[aria-sort=ascending]").count() == 1
    page.get_by_role("button", name="Safety-Challenging").click()
    assert opened.texts(f".sortable {names}") == first[::-1]
    assert page.locator(".chart svg").count() == 3
    page.get_by_role("link", name="apart", exact=True).click()
    page.wait_for_selector("section#explorer")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "site"])
def test_axe_finds_nothing_serious(
    opened: Opened, request: pytest.FixtureRequest, name: str, theme: str
):
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-playwright-python is absent")
    opened.page.emulate_media(color_scheme=theme)
    opened.go(request.getfixturevalue(name))
    for details in opened.page.locator("details").all():
        details.evaluate("(one) => one.open = true")
    # By the debugger's protocol: the page's own policy lets no other script in.
    opened.page.evaluate(Path(spec.origin).with_name("axe.min.js").read_text("utf-8"))
    result = opened.page.evaluate("axe.run()")
    found = [
        (
            one["id"],
            one["impact"],
            one["nodes"][0]["html"][:200],
            one["nodes"][0].get("failureSummary"),
        )
        for one in result["violations"]
        if one["impact"] in ("moderate", "serious", "critical")
    ]
    assert found == []
