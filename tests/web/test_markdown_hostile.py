"""What models may write to do harm: nothing runs, nothing is fetched from elsewhere, and the page goes on answering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page
from running import Server
from web.markdown_page import INSPECT, mount

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CORPUS = sorted((Path(__file__).parent / "data" / "hostile_markdown").glob("*.md"))
# Milliseconds without an answer after which a page counts as hung. A quiet machine needs less than 500 for each case.
HUNG = 20_000
# A worker whose text took too long is started anew, with its scripts.
OWN = ("/web/lib/highlighting_worker.js", "/web/vendor/highlight.js")

MADE = {
    "quotes in each other": '">".repeat(10000) + " x"',
    "quotes in each other, spaced": '"> ".repeat(10000) + "x"',
    "lists in each other": '"- ".repeat(10000) + "x"',
    "numbered lists in each other": '"1. ".repeat(10000) + "x"',
    "lists in quotes in lists": '"> - ".repeat(10000) + "x"',
    "lists in each other by indentation": 'Array.from({ length: 1000 }, (_, at) => " ".repeat(2 * at) + "- a").join("\\n")',
    "quotes of fifty levels": '("> ".repeat(39) + "a\\n").repeat(300)',
    "a line of letters": '"a".repeat(1e6)',
    "a line of words": '"word ".repeat(2e5)',
    "a line of words between others": '"# a\\n\\nb\\n" + "word ".repeat(2e5) + "\\n\\n- c\\n" + "x".repeat(2e5)',
    "a code line": '"```js\\n" + "f(1);".repeat(2e5)',
    "a paragraph of many lines": '"some words\\n".repeat(9e4)',
    "lists without end": '"- a\\n".repeat(5e4)',
    "a table without end": '"|a|b|\\n|-|-|\\n" + "|a|b|\\n".repeat(2e4)',
    "a table of many columns": '"|a".repeat(3000) + "\\n" + "|-".repeat(3000) + "\\n" + "|b".repeat(3000)',
    "headings without end": '"# a\\n".repeat(2e4)',
    "fences without end": '"```\\n".repeat(2e4)',
    "definitions without end": 'Array.from({ length: 5000 }, (_, at) => `[${at}]\\n\\n[${at}]: https://a.example/${at}\\n`).join("\\n")',
    "links without end": '"[a](https://a.example) ".repeat(2e4)',
    "links, line by line": '"[a](https://a.example)\\n\\n".repeat(1e4)',
    "formulas without end": 'Array.from({ length: 2000 }, (_, at) => `$x_{${at}}$`).join(" ") + "\\n\\n$$x$$".repeat(500)',
    "open formulas": '"$x ".repeat(1e5) + "\\\\[ ".repeat(1e4) + "$$".repeat(9999)',
    "marks that turn the text": '"\\u202e\\u2066".repeat(2e4)',
    "entities without end": '"&lt;&hellip;&nosuch;".repeat(2e4)',
    "null bytes": '"a\\0b\\0\\n\\0\\n```\\n\\0\\n```\\n[\\0](https://a.example/\\0)"',
    "half characters": '"\\ud800 \\udc00 [a\\ud800](https://a.example/\\udfff) `\\ud83d` $\\ud83d$\\n```\\ud83d\\n\\udc00\\n```\\n|\\ud83d|\\n|-|\\n|\\udc00|"',
    "half characters at the cuts": '"\\u{1f600}".repeat(1e5)',
    "line ends of all kinds": '"a\\r\\nb\\rc\\n\\rd\\u2028e\\u2029f\\x0bg\\x0ch\\x85i\\n".repeat(1000)',
    "a picture of two megabytes": '"![a](data:image/png;base64," + "A".repeat(2e6) + ") b"',
    "pictures without end": '"![a](data:image/png;base64,AAAA)".repeat(3000)',
    "two megabytes of letters": '"a](data:image/png;base6," + "A".repeat(2e6) + ") b"',
    "deep code": '"  ".repeat(200) + "- a\\n" + " ".repeat(5000) + "b"',
    **{
        f"{sign} again and again{where}": f"({sign!r}).repeat({length} / {len(sign)}){more}"
        for where, length, more in (
            ("", 1e5, ""),
            (" in long lines", 9000, '.concat("\\n\\n").repeat(12)'),
            (" in short lines", 900, '.concat("\\n\\n").repeat(60)'),
        )
        for sign in (
            "[", "![", "](", "[a](", "[a][", "*", "*a ", "**a", "a**b", "***a ", "_a ", "a_", "*_", "`", "` `` ", "~", "~~a",
            "<", "<a ", "<b>", "</b>", "<!--", "<?", "&", "\\", "|", "a@", "a@b.c", "http://a", "www.", "a-._", "a.b@c-",
            '[a](b "', "[a](<b", "$", "\\(", ":", "=", "- - ", "#", "# ", "> a\n", "a\n=\n", "* *", "1.", "\t", " ", "\n", " \n",
        )
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def place(browser: Browser, server: Server) -> Iterator[tuple[Page, list[str]]]:
    """A page with nothing but Markdown, and what went wrong in it: requests to where nobody asks, dialogs, errors."""
    wrong: list[str] = []
    context = browser.new_context()
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.route("**/web/app.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(server.url)
    mount(page)
    # The libraries are not what is measured.
    page.evaluate("async () => { show('$x$\\n\\n```js\\n1\\n```'); await settled(); }")
    page.locator(".hl-number").wait_for()
    page.locator("math").wait_for()
    ours = tuple(f"{server.url.rstrip('/')}{path}" for path in OWN)
    context.on(
        "request",
        lambda asked: None if asked.url.startswith("data:") or asked.url in ours else wrong.append(asked.url),
    )
    context.on("page", lambda opened: wrong.append(f"a page: {opened.url}"))
    context.on("weberror", lambda error: wrong.append(f"script: {error.error}"))
    context.on("console", lambda told: wrong.append(f"console: {told.text}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("framenavigated", lambda frame: wrong.append(f"frame: {frame.url}"))
    yield page, wrong
    context.close()


def check(place: tuple[Page, list[str]], text: str) -> None:
    """text: JavaScript that makes it, or a text as JSON."""
    page, wrong = place
    wrong.clear()
    longest, inspected = page.evaluate(
        f"""async () => {{
          const text = {text};
          grow(text);
          let longest = await settled();
          show(text);
          longest = Math.max(longest, await settled());
          return [longest, ({INSPECT})()];
        }}"""
    )
    assert inspected == []
    assert wrong == []
    assert longest < HUNG


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_what_is_in_the_corpus(place: tuple[Page, list[str]], file: Path) -> None:
    page, _ = place
    page.evaluate("text => (window.corpus = text)", file.read_bytes().decode())
    check(place, "window.corpus")


@pytest.mark.slow
@pytest.mark.parametrize("made", MADE)
def test_what_is_too_much(place: tuple[Page, list[str]], made: str) -> None:
    check(place, MADE[made])


@pytest.mark.parametrize(
    "sink",
    [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
        "document.createElement('iframe').srcdoc = 'x'",
        "document.createElement('script').text = 'x'",
        "trustedTypes.createPolicy('another', { createHTML: (text) => text })",
        "trustedTypes.createPolicy('trunkcall', { createHTML: (text) => text })",
    ],
)
def test_the_browser_lets_no_text_become_html(place: tuple[Page, list[str]], sink: str) -> None:
    page, _ = place
    with pytest.raises(Error, match=r"Trusted|[Pp]olicy"):
        page.evaluate(f"() => {{ {sink}; }}")


def test_what_the_page_trusts(place: tuple[Page, list[str]]) -> None:
    page, _ = place
    ask = "async text => (await import('/web/lib/trusted.js')).charactersOf(text)"
    assert page.evaluate(ask, "&hellip;") == "…"
    for other in ("<b>x</b>", "&hellip;<b>", "&lt;x;", "x", "&amp"):
        with pytest.raises(Error, match="not a character reference"):
            page.evaluate(ask, other)
