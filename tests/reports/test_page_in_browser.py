"""The page as people see it: in Chromium, light and dark, on a telephone and on a wall, on paper, with scripts off."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_records

from dlbench.analyse.table import ColdStart, build
from dlbench.plugins import load_reporter
from dlbench.record.schema import Record

pytest.importorskip("altair", reason="the extra charts is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VIEWS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "telephone": {"viewport": {"width": 360, "height": 740}},
    "wall": {"viewport": {"width": 2560, "height": 1440}},
    "scripts off": {"java_script_enabled": False},
    "paper": {"viewport": {"width": 794, "height": 1123}},
}
CUT = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const whole = svg.getBoundingClientRect();
  if (!whole.width) return [];
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return text.textContent && (box.left < whole.left - 1 || box.right > whole.right + 1
      || box.top < whole.top - 1 || box.bottom > whole.bottom + 1);
  }).map(text => text.textContent);
})"""
WIDER = """() => [...document.querySelectorAll("body *")].filter(each =>
  !each.closest(".scroll") && !each.closest("svg") && !each.matches(".skip, caption") && !each.closest("#tip")
  && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without what it would ask its makers for."""
    if CHROMIUM is None:
        missing = "Chromium is not installed, so no page was looked at: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


def written(target: Path, *records: Record, baseline: str | None = None) -> str:
    named = [(f"results/{n}.jsonl", each) for n, each in enumerate(records)]
    text = load_reporter("html")(build(named, baseline, ColdStart()))
    target.write_text(text, "utf-8")
    return target.as_uri()


@pytest.fixture(scope="module")
def url(make: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two records: a run with all that a run has, and a sweep of long names."""
    first = report_records.watched(make.record(epochs=3))
    second = report_records.many(3, batches=(1, 64), long=True, scenarios=("train",))
    return written(tmp_path_factory.mktemp("page") / "report.html", first, second)


class Seen:
    """A page that was opened, with all that it said and asked for."""

    def __init__(self, browser: Any, url: str, **view: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | view)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    @property
    def asked_outside(self) -> list[str]:
        return [url for url in self.asked[1:] if url != "data:,"]

    def __enter__(self) -> "Seen":
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_is_whole_in_every_view(browser: Any, url: str, view: str) -> None:
    with Seen(browser, url, **VIEWS[view]) as seen:
        if view == "paper":
            seen.page.emulate_media(media="print")
        assert seen.said == []
        assert seen.asked_outside == []
        # what Chromium runs for whoever drives it runs with the page's own scripts off too
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.page.evaluate(WIDER) == []
        assert seen.page.evaluate(CUT) == []
        shown = seen.page.locator("figure svg:visible").count()
        assert shown == seen.page.locator("figure:visible").count() > 5


@pytest.mark.parametrize("view", ["light", "telephone"])
def test_why_a_row_was_skipped_is_read_without_scrolling_its_table(
    browser: Any, url: str, view: str
) -> None:
    with Seen(browser, url, **VIEWS[view]) as seen:
        row = seen.page.locator("#r1-2 tr", has_text="skipped").first
        (reason,) = row.get_by_text("no CUDA device: this row needs").filter(visible=True).all()
        box = reason.bounding_box()
        assert 0 <= box["x"]
        assert box["x"] + box["width"] <= seen.page.viewport_size["width"]


@pytest.mark.parametrize("views", [["light"], ["dark", "telephone"]], ids=" and ".join)
def test_axe_finds_no_fault(browser: Any, url: str, views: list[str]) -> None:
    chosen = {name: value for view in views for name, value in VIEWS[view].items()}
    with Seen(browser, url, **chosen) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = axe.Axe().run(seen.page).response
        assert found["passes"], "axe has looked at nothing"
        faults = [
            (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"][:3]])
            for each in found["violations"]
        ]
        assert faults == []


def test_hostile_strings_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    record = report_records.hostile()
    target = written(tmp_path / "hostile.html", record, baseline=record.header.cases[0].row_name)
    with Seen(browser, target) as seen:
        assert seen.said == []
        assert seen.asked_outside == []
        assert seen.page.locator("script").count() == 1
        assert seen.page.locator("img").count() == 0
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "<script>alert(1)</script>" in seen.page.locator("main").inner_text()


def test_the_baseline_is_chosen_by_keyboard_and_with_scripts_off(browser: Any, url: str) -> None:
    for view in ({}, VIEWS["scripts off"]):
        with Seen(browser, url, **view) as seen:
            choice = seen.page.locator(".choice").first
            assert choice.locator("figure:visible h4").inner_text() == "Speed-up over numpy"
            choice.locator("input").first.focus()
            seen.page.keyboard.press("ArrowDown")
            told = choice.locator("figure:visible h4").inner_text()
            assert told == "Speed-up over tensorflow:cpu/graph"


def test_tables_are_sorted_and_filtered(browser: Any, url: str) -> None:
    with Seen(browser, url) as seen:
        table = seen.page.locator("#r1-2 table").first
        head = table.locator("thead button", has_text="samples/s")
        head.focus()
        seen.page.keyboard.press("Enter")
        seen.page.keyboard.press("Enter")
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        rates = table.locator("tbody").first.locator("td.r").all_inner_texts()
        backends = table.locator("tbody").first.locator("th[scope=row]").all_inner_texts()
        assert rates
        assert backends[0].startswith("tensorflow")
        filter_ = seen.page.locator("#r1-2 .filter input").first
        filter_.fill("torch infer")
        assert table.locator("tbody tr:not(.group):visible").count() == 1
        assert seen.page.locator("#r1-2 .filter [role=status]").first.inner_text() == "1 of 10 rows"
        filter_.fill("")
        assert table.locator("tbody tr:not(.group):visible").count() == 10


def test_a_mark_tells_its_figures_under_the_pointer(browser: Any, url: str) -> None:
    with Seen(browser, url) as seen:
        mark = seen.page.locator("#r1-2 .wide [data-tip*='torch 2.13']").first
        mark.scroll_into_view_if_needed()
        mark.hover(force=True)
        assert "torch 2.13 · cpu · eager" in seen.page.locator("#tip").inner_text()
        assert seen.page.locator("svg title").count() == 0
    with Seen(browser, url, **VIEWS["scripts off"]) as seen:
        assert seen.page.locator("svg title").count() > 10


def test_links_of_the_page_lead_to_its_parts(browser: Any, url: str) -> None:
    with Seen(browser, url) as seen:
        seen.page.locator("nav a", has_text="How far to trust it").first.click()
        heading = seen.page.locator("#r1-6-title")
        assert heading.evaluate("each => each.getBoundingClientRect().top") < 900
        assert heading.inner_text() == "6 How far to trust it"
