"""The report of an optimization in a browser: headless Chromium without a network."""

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
from sample_history import COLLAPSE, empty_history, sample_history
from sample_reports import HOSTILE

LONG = f"{'deep/' * 20}{'model' * 30}.h5"
ALL = ("whole", "hostile", "long", "empty")
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("optimizations")
    made = {
        "whole": html.optimize(sample_history()),
        "hostile": html.optimize(sample_history(HOSTILE, HOSTILE)),
        "long": html.optimize(sample_history(LONG, LONG)),
        "empty": html.optimize(empty_history()),
    }
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("name", ALL)
def test_it_opens_offline_without_complaint(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    asked = opened(browser, pages[name])
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert complaints(browser) == []
    assert run(browser, "return document.scripts.length") == 0
    boxes = widths_and_heights(browser)
    assert len(boxes) == (0 if name == "empty" else 4)
    assert all(width > 250 and height > 50 for width, height in boxes)


@pytest.mark.parametrize("name", ALL)
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: webdriver.Chrome, pages: dict[str, Path], name: str
) -> None:
    opened(browser, pages[name], PHONE)
    run(browser, UNFOLD)
    assert run(browser, "return innerWidth") == PHONE
    assert run(browser, "return document.documentElement.scrollWidth") <= PHONE
    assert run(browser, WIDE) == []
    assert min(run(browser, SMALL), default=9) >= 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(browser: webdriver.Chrome, pages: dict[str, Path], scheme: str) -> None:
    opened(browser, pages["whole"], scheme=scheme)
    run(browser, UNFOLD)
    background = run(browser, "return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    texts, marks = run(browser, CONTRASTS)
    assert len(texts) > 500
    assert [found for found in texts if found[0] < TEXT] == []
    assert len(marks) > 15
    assert [found for found in marks if found[0] < GRAPHICS] == []


def test_tables_that_scroll_can_be_reached_with_the_keyboard(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    opened(browser, pages["whole"], PHONE)
    run(browser, UNFOLD)
    unreachable = run(
        browser,
        "return [...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).overflowX === 'auto' && e.tabIndex !== 0).length",
    )
    assert unreachable == 0


def test_the_texts_are_there(browser: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["whole"], PHONE)
    text = run(browser, "return document.body.innerText")
    for told in (
        f"Step 2 quantize:int8: {COLLAPSE}",
        "+80.89 pt", "+80.70 to +81.10, 10,000 examples", "UNSUPPORTED_OPERATOR",
        "Sensitivity of 30 layers", "Raspberry Pi 4", "Calibration examples differ from",
        "; 24\N{MULTIPLICATION SIGN} as fast as the original in its own framework (no interval)",
        'technique = "convert:tflite"',
    ):  # fmt: skip
        assert told in text, told
    # What is folded away is there when it is asked for.
    assert "Recall before" not in text
    run(browser, UNFOLD)
    assert "Recall before" in run(browser, "return document.body.innerText")
    opened(browser, pages["hostile"])
    assert "<script>alert('x')</script>" in run(browser, "return document.body.innerText")


def test_warnings_stand_above_all_figures(
    browser: webdriver.Chrome, pages: dict[str, Path]
) -> None:
    opened(browser, pages["whole"], PHONE)
    place = "return document.querySelector('{}').getBoundingClientRect().top"
    assert run(browser, place.format(".banner.inconclusive")) < run(browser, place.format("table"))


def test_no_id_is_there_twice(browser: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["whole"])
    found = run(browser, "return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert found
    assert len(found) == len(set(found))
