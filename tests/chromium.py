"""Pages in headless Chromium, without a network, and what can be asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium import webdriver

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


def complaints(browser: webdriver.Chrome) -> list[Any]:
    """What the browser logged of the open page."""
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]


def widths_and_heights(browser: webdriver.Chrome) -> list[tuple[float, float]]:
    """Of every plot; a broken one takes no room."""
    boxes = run(
        browser,
        "return [...document.querySelectorAll('figure svg')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])",
    )
    return [(width, height) for width, height in boxes]
