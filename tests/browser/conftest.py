"""The built book in Debian's Chromium, or whichever is on the path."""

from pathlib import Path

import pytest

from rnc.show.book import BROWSERS, find_browser

BOOK = Path(__file__).resolve().parents[2] / "_build" / "html"
SWITCHES = [
    "--no-sandbox",  # CI runs as root
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]


@pytest.fixture(scope="session")
def browser():
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a page of the book; notes what it complains of and what it asks for elsewhere."""
    contexts = []

    def visit(page, width=1300, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.complaints, tab.outside = [], []
        tab.on(
            "console",
            lambda message: (
                tab.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                tab.outside.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        path, query, rest = page.partition("?")
        tab.goto(f"{(BOOK / path).as_uri()}{query}{rest}")  # a # in the folder's name is none here
        tab.wait_for_load_state("networkidle")
        return tab

    yield visit
    for context in contexts:
        context.close()
