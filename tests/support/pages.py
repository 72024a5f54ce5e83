"""What is measured of a page in a browser: JavaScript expressions."""

from __future__ import annotations

import time
from typing import Any

from support.chromium import Browser

CONTRAST = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const part = c[i] / 255;
    return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [rgb(element.closest("svg") ? style.fill : style.color), behind(element)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.data.slice(0, 40), element.className, ratio]);
  }
  return poor;
})()"""
"""Texts whose contrast with what is behind them is below 4.5 (WCAG AA)."""

WIDE = """[...document.querySelectorAll("main *")].filter((e) => e.checkVisibility() && !e.matches("thead *, svg *")
  && (e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5))
  .map((e) => e.tagName + "." + e.className)"""


def soon(page: Browser, expression: str) -> Any:
    """Wait until an expression is true in the page; its value."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := page.run(expression):
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {expression}; {page.complaints}; {page.run('document.body.innerText')[:2000]}")
