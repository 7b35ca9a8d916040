"""The report in a real browser: everything is drawn, nothing is asked of the network, nothing foreign runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from hwnas.report.data import ReportData
from hwnas.report.page import render

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# Marks by plot: points, bars and lines that have a size on the page.
MARKS = """
const drawn = (plot) => [...plot.querySelectorAll(".trace .point path, .trace path.point, .trace path.js-line, .hm image")]
  .filter((mark) => { const box = mark.getBoundingClientRect(); return box.width > 0 || box.height > 0; }).length;
return Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) => [plot.id, drawn(plot)]));
"""
TOO_WIDE = """
const edge = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")]
  .filter((e) => !e.closest(".scroll table, pre") && !e.closest("svg") && e.getBoundingClientRect().right > edge + 1)
  .map((e) => e.tagName + "." + e.className);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def open_page(browser: webdriver.Chrome, page: str, folder: Path, *, width: int, scheme: str = "light") -> None:
    """Show ``page`` in a window of ``width`` CSS pixels; below 600 as a telephone, with touch."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # type: ignore[no-untyped-call]  # what earlier pages left there
    browser.get(path.as_uri())


def log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_within_the_page(
    browser: webdriver.Chrome, report_data: ReportData, tmp_path: Path, width: int, scheme: str
) -> None:
    open_page(browser, render(report_data), tmp_path, width=width, scheme=scheme)
    marks = browser.execute_script(MARKS)
    assert set(marks) == {
        "front", "progress", "feasible", "effects-accuracy", "effects-latency", "comparison", "confusion", "loss", "accuracy",
        "network-drawn", "kernel-costs", "agreement", "errors",
    }  # fmt: skip
    assert all(marks.values()), marks
    assert marks["kernel-costs"] == len(report_data.kernels)
    assert marks["agreement"] >= len(report_data.checks)
    assert browser.execute_script(TOO_WIDE) == []
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert log(browser, "browser") == []


def test_the_page_asks_nothing_of_the_network(
    browser: webdriver.Chrome, report_data: ReportData, tmp_path: Path
) -> None:
    open_page(browser, render(report_data), tmp_path, width=1280)
    requested = [entry["message"] for entry in log(browser, "performance") if "requestWillBeSent" in entry["message"]]
    assert requested
    assert not [message for message in requested if '"url":"http' in message or '"url":"ws' in message]


def test_figures_follow_the_colour_scheme(browser: webdriver.Chrome, report_data: ReportData, tmp_path: Path) -> None:
    colour = "return getComputedStyle(document.querySelector('#loss path.js-line')).stroke"
    open_page(browser, render(report_data), tmp_path, width=1280)
    light = browser.execute_script(colour)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(colour) != light)


def test_injected_text_is_inert(
    browser: webdriver.Chrome, report_with: Callable[[str], ReportData], tmp_path: Path
) -> None:
    hostile = (
        "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"
        '<a href="javascript:window.hacked=3">x</a>{{7*7}}%{x}'
    )
    data = report_with(hostile)
    open_page(browser, render(data), tmp_path, width=1280)
    assert all(browser.execute_script(MARKS).values())
    browser.execute_script("Plotly.Fx.hover('kernel-costs', [{curveNumber: 0, pointNumber: 0}])")
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('main a, svg a, script').length") == 4
    sources = browser.execute_script("return [...document.querySelectorAll('img')].map((image) => image.src)")
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert hostile in browser.title
    assert log(browser, "browser") == []


def test_foreign_scripts_are_refused(browser: webdriver.Chrome, report_data: ReportData, tmp_path: Path) -> None:
    page = render(report_data).replace("</main>", "<script>window.hacked = 1</script></main>")
    open_page(browser, page, tmp_path, width=1280)
    assert browser.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in entry["message"] for entry in log(browser, "browser"))
