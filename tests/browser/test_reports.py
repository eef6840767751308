"""Reports in a browser: headless Chromium without a network, on a phone, in the dark, on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver

from chromium import (
    CONTRASTS,
    GRAPHICS,
    PHONE,
    SMALL,
    TEXT,
    WIDE,
    complaints,
    opened,
    run,
    widths_and_heights,
)
from edgeopt_host.report import html
from sample_reports import HOSTILE, paired_runs, sample_comparison, sample_gate


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


ALL = ("pass", "fail", "inconclusive", "not_measurable", "hostile", "long", "compare", "run")


@pytest.mark.parametrize("name", ALL)
def test_it_opens_offline_without_complaint(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    asked = opened(browser, pages[name])
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert complaints(browser) == []
    boxes = widths_and_heights(browser)
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
