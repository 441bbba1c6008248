"""The page as a browser shows it: headless Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from fewshot.reports.html.gallery import read_gallery
from fewshot.reports.html.page import render
from fewshot.reports.leaderboard import PAGE as LEADERBOARD
from made_once import made_once
from records import committed
from report_records import a_record, several

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install fewshot-bench[dev]")
RESULTS = Path(__file__).parents[2] / "results"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Seen:
    """An open page and what it did that nobody asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        found = next(filter(None, map(shutil.which, BROWSERS)), str(own) if own.is_file() else None)
        if found is None:
            pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed, nor Playwright's own")
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of made-up records, and that of the published ones with their closeups."""

    def published() -> str:
        return render(committed(), read_gallery(RESULTS / "closeups.json"))

    return {
        "several": made_once(tmp_path_factory, "several.html", lambda: render(several())),
        "published": made_once(tmp_path_factory, "published.html", published),
    }


def opened(browser: Browser, path: Path, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Seen:
    seen = Seen(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(path.as_uri())
    return seen


@pytest.mark.parametrize("name", ["several", "published"])
def test_the_page_opens_without_a_complaint_and_asks_the_network_for_nothing(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    seen = opened(browser, pages[name])
    seen.page.evaluate("document.querySelectorAll('details').forEach(more => more.open = true)")
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [pages[name].as_uri()]
    seen.page.close()


@pytest.mark.parametrize("name", ["several", "published"])
def test_every_picture_is_there(browser: Browser, pages: dict[str, Path], name: str) -> None:
    page = opened(browser, pages[name]).page
    page.evaluate("document.querySelectorAll('details').forEach(more => more.open = true)")
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(svg => { const box = svg.getBBox();"
        " return [svg.clientWidth, svg.clientHeight, box.width, box.height, svg.getAttribute('aria-label')]; })"
    )
    assert len(sizes) > 10
    assert all(min(size[:4]) > 20 and size[4] for size in sizes)
    dangling = "[...document.querySelectorAll('use')].filter(use => !document.querySelector(use.getAttribute('href')))"
    assert page.evaluate(f"{dangling}.length") == 0
    decoded = page.evaluate(
        "Promise.all([...document.querySelectorAll('figure image')].map(async image => { const picture = new Image();"
        " picture.src = image.getAttribute('href'); await picture.decode(); return picture.naturalWidth; }))"
    )
    assert all(width >= 28 for width in decoded)
    assert bool(decoded) == (name == "published" and (RESULTS / "closeups.json").is_file())
    page.close()


def test_pressing_a_heading_sorts_the_table_and_pressing_it_again_turns_it_around(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = opened(browser, pages["several"]).page
    table = page.locator("#leaderboard table").first
    heading = table.get_by_role("columnheader", name="20-way 1-shot")
    column = [head.strip() for head in table.locator("thead th").all_inner_texts()].index("20-way 1-shot")

    def shown() -> list[float]:
        texts = [row.split("\t")[column] for row in table.locator("tbody tr").all_inner_texts()]
        return [float(text.split("±")[0]) for text in texts]

    for order in ("descending", "ascending"):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == order
        assert shown() == sorted(shown(), reverse=order == "descending")
    assert len(set(shown())) > 2
    words = table.get_by_role("columnheader", name="model")
    words.get_by_role("button").press("Enter")
    names = [text.strip() for text in table.locator("tbody th").all_inner_texts()]
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") is None
    page.close()


def test_rows_without_a_number_stay_last(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "gaps.html"
    records = [record for record in several() if (record.model, record.test.shot) != ("relation", 5)]
    path.write_text(render(records), encoding="utf-8")
    page = opened(browser, path).page
    table = page.locator("#leaderboard table").first
    for _ in range(2):
        table.get_by_role("columnheader", name="5-way 5-shot").first.get_by_role("button").click()
        assert table.locator("tbody th").last.inner_text() == "Relation Networks"
    page.close()


@pytest.mark.parametrize("name", ["several", "published"])
@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_narrow_screen_never_scrolls_sideways(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    page = opened(browser, pages[name], width).page
    page.evaluate("document.querySelectorAll('details').forEach(more => more.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_on_a_phone_the_report_is_short_and_whole_on_demand_without_a_script(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.new_page(java_script_enabled=False, viewport={"width": 390, "height": 900})
    page.goto(pages["published"].as_uri())
    assert (page.locator("html").bounding_box() or {"height": 0.0})["height"] < 12_000
    box = page.locator("#leaderboard-table-1")
    rows = box.locator("tbody tr:visible")
    assert (rows.count(), rows.first.locator("td:visible").count()) == (3, 4), "the accuracies of the best"
    box.get_by_text("every column").click()
    assert rows.count() == box.locator("tbody tr").count() > 100
    assert rows.first.locator("td:visible").count() == 8
    answer = page.locator("#answer details.why").first
    answer.locator("summary").click()
    assert "test episodes" in answer.inner_text()
    page.close()


def test_who_prefers_the_dark_gets_a_dark_page(browser: Browser, pages: dict[str, Path]) -> None:
    colors = {}
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page = opened(browser, pages["several"], scheme=scheme).page
        colors[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.close()
    light, dark = (sum(map(int, color[4:-1].split(","))) for color in (colors["light"], colors["dark"]))
    assert light > 600
    assert dark < 150


def test_the_leaderboard_is_filtered_sorted_and_shows_accuracy_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.html"
    path.write_text(str(LEADERBOARD.render(several())["leaderboard.html"]), encoding="utf-8")
    seen = opened(browser, path, width=390)
    page, rows = seen.page, seen.page.locator("tbody tr:visible")
    names = ["Matching Networks", "Prototypical Networks", "Relation Networks", "Siamese network"]
    assert sorted(page.locator("tbody tr:visible th").all_inner_texts()) == names
    assert page.locator("output").inner_text() == "4 of 19 rows"
    size = "cell => [parseFloat(getComputedStyle(cell).fontSize), cell.getBoundingClientRect().right]"
    for height, right in rows.locator("td.score-cell").evaluate_all(f"all => all.map({size})"):
        assert height > 18
        assert right <= 390
    page.evaluate("document.querySelectorAll('select').forEach(all => all.append(new Option('long '.repeat(40))))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("data set").select_option("miniImageNet")
    assert rows.count() == 2
    page.get_by_label("data set").select_option("")
    page.get_by_label("test").select_option("")
    page.get_by_label("setting").select_option("")
    assert rows.count() == 19
    page.get_by_role("button", name="accuracy").click()
    accuracies = [float(text.split(" ")[0]) for text in rows.locator("td.score-cell").all_inner_texts()]
    assert accuracies == sorted(accuracies, reverse=True)
    assert seen.complaints == []
    assert seen.requests == [path.as_uri()]
    page.close()


def test_a_long_leaderboard_begins_short_and_is_whole_on_demand(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.html"
    records = [a_record("proto", 0.9 + number / 1000, train_episodes=3000 + number) for number in range(60)]
    path.write_text(str(LEADERBOARD.render(records)["leaderboard.html"]), encoding="utf-8")
    page = opened(browser, path, width=390).page
    rows, height = page.locator("tbody tr:visible"), "document.documentElement.scrollHeight"
    assert page.locator("output").inner_text() == "60 of 60 rows"
    assert rows.count() == 25
    assert page.evaluate(height) < 5000
    assert rows.first.locator("td:visible").count() == 3  # accuracy, rank, recipe
    page.get_by_label("every column").check()
    assert rows.first.locator("td:visible").count() > 6
    page.get_by_role("button", name="25 more").click()
    assert rows.count() == 50
    page.get_by_role("button", name="accuracy").click()
    assert rows.count() == 50
    page.get_by_role("button", name="all 60").click()
    assert rows.count() == 60
    page.get_by_label("setting").select_option("")
    assert rows.count() == 25
    page.close()


def test_a_choice_that_goes_with_no_other_choice_holds(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.html"
    path.write_text(str(LEADERBOARD.render(several())["leaderboard.html"]), encoding="utf-8")
    page = opened(browser, path).page
    choices = page.get_by_label("test").locator("option")
    twenty = next(text for text in choices.all_inner_texts() if text.startswith("20"))
    page.get_by_label("test").select_option(twenty)
    page.get_by_label("data set").select_option("miniImageNet")  # where nothing is 20-way
    assert page.get_by_label("data set").input_value() == "miniImageNet"
    assert page.get_by_label("test").input_value() == ""
    assert page.locator("tbody tr:visible").count() > 0
    labels = choices.evaluate_all("all => all.map(option => option.label)")
    assert f"{twenty} (0)" in labels
    page.close()


def test_without_javascript_the_leaderboard_is_a_whole_table(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.html"
    path.write_text(str(LEADERBOARD.render(several())["leaderboard.html"]), encoding="utf-8")
    page = browser.new_page(java_script_enabled=False, viewport={"width": 390, "height": 900})
    page.goto(path.as_uri())
    assert page.locator("tbody tr:visible").count() == 19
    assert page.locator("select:visible").count() == page.locator(".more:visible").count() == 0
    assert page.locator("tbody tr").first.locator("td:visible").count() > 8
    page.close()


def test_the_short_answer_stands_on_the_first_screen(browser: Browser, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["several"]).page
    card = page.locator(".card").first
    box = card.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    words = card.inner_text()
    for question in ("Surely better than the next?", "As published?", "What did it cost?"):
        assert question in words
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    largest = max(page.locator(".card *").evaluate_all(f"all => all.map({size})"))
    assert card.locator(".score").evaluate(size) == largest  # the accuracy
    page.close()
