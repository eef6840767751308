"""Reports in a browser: headless Chromium without a network, on a phone, in the dark, on paper."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from edgeopt_host.report import html
from sample_reports import HOSTILE, paired_runs, sample_comparison, sample_gate

PHONE, DESKTOP = 360, 1280
# WCAG 2.2, 1.4.3 and 1.4.11: text, and what must be seen of a plot.
TEXT, GRAPHICS = 4.5, 3.0
# Colours as the browser computes them: each text with what is behind it, each mark of a plot.
CONTRASTS = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const part = [r, g, b].map(c => c / 255).map(
    c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
};
const ratio = (a, b) => {
  const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const found = rgb(getComputedStyle(e).backgroundColor);
    if (found.length && (found.length < 4 || found[3] > 0)) return found;
  }
  return [255, 255, 255];
};
const texts = [], marks = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || ["title", "desc", "style"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const colour = element.ownerSVGElement ? style.fill : style.color;
  texts.push([ratio(rgb(colour), behind(element)), walk.currentNode.data.trim()]);
}
for (const path of document.querySelectorAll("path[style*='--a)'], path[style*='--b)'], .key0, .key1")) {
  const style = getComputedStyle(path);
  marks.push([ratio(rgb(style.stroke === "none" ? style.fill : style.stroke), behind(path)), "mark"]);
}
return [texts, marks];
"""
# What reaches beyond the right edge.
WIDE = """
return [...document.querySelectorAll("body *")]
  .filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.tagName + ": " + e.textContent.slice(0, 40));
"""
SMALL = """
return [...document.querySelectorAll("svg text")].map(
  e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver: scripts/test installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    long_name = f"{'deep/' * 20}{'model' * 30}.tflite"
    made = {
        **{
            v: html.gate(sample_gate(v)) for v in ("pass", "fail", "inconclusive", "not_measurable")
        },
        "hostile": html.gate(sample_gate("pass", HOSTILE)),
        "long": html.gate(sample_gate("pass", long_name)),
        "compare": html.compare(sample_comparison()),
        "run": html.run(paired_runs(1)[0]),
    }
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: folder / f"{name}.html" for name in made}


def opened(
    browser: webdriver.Chrome, page: Path, width: int = DESKTOP, scheme: str = "light"
) -> list[str]:
    """Opens a page without a network; returns the addresses that it asked for."""
    for log in ("browser", "performance"):
        browser.get_log(log)  # type: ignore[no-untyped-call]
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    media = {"media": "screen", "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    logged = browser.get_log("performance")  # type: ignore[no-untyped-call]
    events = [json.loads(e["message"])["message"] for e in logged]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def run(browser: webdriver.Chrome, script: str) -> Any:
    return browser.execute_script(script)


ALL = ("pass", "fail", "inconclusive", "not_measurable", "hostile", "long", "compare", "run")


@pytest.mark.parametrize("name", ALL)
def test_it_opens_offline_without_complaint(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    asked = opened(browser, pages[name])
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    # Every plot has taken room, which a broken one would not.
    boxes = run(
        browser,
        "return [...document.querySelectorAll('figure svg')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])",
    )
    assert boxes
    assert all(width > 250 and height > 50 for width, height in boxes)


@pytest.mark.parametrize("name", ALL)
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    opened(browser, pages[name], PHONE)
    assert run(browser, "return innerWidth") == PHONE
    assert run(browser, "return document.documentElement.scrollWidth") <= PHONE
    assert run(browser, WIDE) == []
    assert min(run(browser, SMALL)) >= 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fail", "inconclusive", "compare"])
def test_contrast_is_enough(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str, scheme: str
) -> None:
    opened(browser, pages[name], scheme=scheme)
    background = run(browser, "return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    texts, marks = run(browser, CONTRASTS)
    assert len(texts) > 100
    assert [found for found in texts if found[0] < TEXT] == []
    assert len(marks) > 4
    assert [found for found in marks if found[0] < GRAPHICS] == []


def test_the_texts_are_there(browser: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["inconclusive"], PHONE)
    text = run(browser, "return document.body.innerText")
    for told in (
        "? Inconclusive", "This is no pass", "p95_latency_ms", "5.40 ms to 5.62 ms",
        "Launch 3 does not count: the device throttled its clock", "hottest (°C)",
        "from the baseline (%)", "Raspberry Pi 4",
    ):  # fmt: skip
        assert told in text, told
    opened(browser, pages["hostile"])
    assert "<script>alert('x')</script>" in run(browser, "return document.body.innerText")
    assert run(browser, "return document.scripts.length") == 0


def test_no_id_is_there_twice(browser: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["compare"])
    found = run(browser, "return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert found
    assert len(found) == len(set(found))
    broken = run(
        browser,
        "return [...document.querySelectorAll('use')].map(e => e.getAttribute('xlink:href'))"
        ".filter(target => !document.querySelector(target))",
    )
    assert broken == []


def test_it_prints_dark_on_white(browser: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["fail"], scheme="dark")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert (
        run(browser, "return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert run(browser, "return getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 10_000
