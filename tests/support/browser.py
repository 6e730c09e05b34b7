"""Open a page in a headless Chromium, as a person would, and note what it asked for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MAC_PATHS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
INSIDE = ("file:", "data:", "blob:", "about:")
ADVICE = (
    "no Chromium found. Debian/Ubuntu: apt-get install chromium; macOS: brew install --cask chromium; "
    "or set MQG_CHROMIUM to the program"
)


@dataclass
class OpenPage:
    """A page and what it did since it was opened."""

    page: Page
    requests: list[str] = field(default_factory=list)  # addresses outside the file itself
    failed: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)  # uncaught exceptions too


def chromium_path() -> str | None:
    """The browser to use: MQG_CHROMIUM, then the usual names and places."""
    chosen = os.environ.get("MQG_CHROMIUM")
    if chosen:
        return chosen
    found = (shutil.which(name) for name in NAMES)
    return next(
        (path for path in found if path),
        next((path for path in MAC_PATHS if Path(path).exists()), None),
    )


def require_chromium() -> str:
    """The browser's path; without one, skip the test, or fail it if MQG_REQUIRE_BROWSER=1."""
    path = chromium_path()
    if path is None and os.environ.get("MQG_REQUIRE_BROWSER") == "1":
        pytest.fail(ADVICE)
    if path is None:
        pytest.skip(ADVICE)
    return path


def launch(playwright: Playwright) -> Browser:
    """Start the browser, headless. Skips or fails as `require_chromium` does."""
    return playwright.chromium.launch(executable_path=require_chromium(), headless=True, args=FLAGS)


@contextmanager
def open_page(
    browser: Browser,
    path_or_url: Path | str,
    *,
    width: int = 1440,
    height: int = 900,
    offline: bool = True,
    dark: bool = False,
) -> Iterator[OpenPage]:
    """Open a file or an address in a fresh context, and wait until it has loaded."""
    url = path_or_url.resolve().as_uri() if isinstance(path_or_url, Path) else path_or_url
    context = browser.new_context(
        viewport={"width": width, "height": height},
        offline=offline,
        color_scheme="dark" if dark else "light",
    )
    opened = OpenPage(context.new_page())
    page = opened.page
    page.on(
        "request",
        lambda r: None if r.url.startswith(INSIDE) else opened.requests.append(r.url),
    )
    page.on("requestfailed", lambda r: opened.failed.append(r.url))
    page.on(
        "console",
        lambda m: opened.console_errors.append(m.text) if m.type == "error" else None,
    )
    page.on("pageerror", lambda e: opened.console_errors.append(str(e)))
    try:
        page.goto(url, wait_until="load")
        yield opened
    finally:
        context.close()
