"""Chromium as Debian has it, driven by Playwright; a test is skipped, and says so, where there is none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

PATIENCE_MS = 120_000


@contextmanager
def opened_page() -> Iterator[Page]:
    """Open a page of a fresh browser; what it logs as an error fails the test that ends without looking."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's own does not run as root
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if line.type == "error" else None
        )
        yield page
        browser.close()
        assert problems == []


def accessibility_problems(page: Page) -> list[str]:
    """Return what axe finds wrong with the page that is shown: the rule, and where."""
    report = Axe().run(page)
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in report.response["violations"]
        for node in each["nodes"]
    ]
