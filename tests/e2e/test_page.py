"""A page of results in a real browser: it loads nothing, charts draw, zoom and answer, tables sort, text stays text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dse.page.page import Chart, Drawing, Page, Series, Table, Text, page_html, write_page
from simulator.core.errors import InputError

EVIL = "a </script><script>document.title='broken'</script> & <b>"
CLOUD = [(float(i + 1), 100.0 / (i + 1), f"design {i}\n{EVIL}") for i in range(40)]


def _bars() -> Figure:
    figure = Figure(figsize=(2.0, 1.5))
    figure.add_subplot().bar([0, 1], [1.0, 2.0])
    return figure


PAGE = Page(
    f"Sweep {EVIL}",
    [
        ("Found", [Text([EVIL]), Table([{"name": "a", "tpot_ms": 12.0}, {"name": EVIL, "tpot_ms": 2.345678}])]),
        ("Front", [Chart("cost", "latency", [Series("designs", "#b8b8b8", CLOUD)], log_y=True), Drawing(_bars)]),
    ],
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("browser not found: chromium with chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    quiet = "no-first-run disable-background-networking disable-component-update disable-sync"
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1100,1000", *quiet.split()):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    window = webdriver.Chrome(options=options, service=Service(driver))
    yield window
    window.quit()


@pytest.mark.slow
def test_in_a_browser(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    browser.get(write_page(PAGE, tmp_path / "page.html").as_uri())
    assert browser.title == f"Sweep {EVIL}"
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded == []

    circles = browser.find_elements("css selector", "figure.chart g circle")
    assert len(circles) == len(CLOUD)
    ActionChains(browser).move_to_element(circles[7]).perform()
    tip = browser.find_element("css selector", ".tip")
    assert tip.is_displayed() and tip.text.startswith("design 7") and EVIL in tip.text

    chart = browser.find_element("css selector", "figure.chart svg")
    ActionChains(browser).move_to_element_with_offset(chart, -200, -60).click_and_hold().move_by_offset(
        150, 120
    ).release().perform()
    zoomed = browser.find_elements("css selector", "figure.chart g circle")
    assert 0 < len(zoomed) < len(CLOUD)
    ActionChains(browser).double_click(chart).perform()
    assert len(browser.find_elements("css selector", "figure.chart g circle")) == len(CLOUD)

    heading = browser.find_element("css selector", "th:nth-child(2)")
    for expected in ("2.346", "12"):
        heading.click()
        assert browser.find_element("css selector", "tbody td.number").text == expected
    assert browser.find_element("css selector", "figure.drawing svg").size["width"] > 100


def test_same_page_same_bytes_and_no_address_to_load() -> None:
    text = page_html(PAGE)
    assert text == page_html(PAGE)
    assert "default-src 'none'" in text
    for loading in (' src="', "@import", "url(http", '<link rel="', "fetch("):
        assert loading not in text


def test_long_tables_say_what_they_leave_out() -> None:
    text = page_html(Page("t", [("all", [Table([{"i": i} for i in range(2500)])])]))
    assert text.count("<tr>") == 2001 and "500 more rows" in text


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.html"):
        write_page(PAGE, tmp_path / "page.pdf")
    with pytest.raises(InputError, match="No such file"):
        write_page(PAGE, tmp_path / "none" / "page.html")
