"""Markdown as it is shown: what it is made into, how it grows, and what is done with long texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from running import Server, eventually
from web.markdown_page import INSPECT, mount

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SAMPLE = """# Heading

Text with **bold**, *italic*, `code`, ~~gone~~, a [link](https://a.example/x "t"), https://auto.example and H<sub>2</sub>O &mdash;
$5 and $6, $e^{i\\pi}$ and \\(\\frac{a}{b}\\).

$$
x = y
$$

1. First
2. Second
   - nested *one*
     ```python
     def f(x):
         return x
     ```
3. Third

- [x] done
- [ ] to do

> A quote
> over two lines

| Name | Value |
|:-----|------:|
| a | `x` |
| b | **y** |

```js
// a comment
const a = 1;
```

    indented

![remote](https://evil.example/x.png) <b>html</b> <script>no</script>

[ref][1] at the end.

---

[1]: https://a.example/ref
"""


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page with nothing but Markdown in it; nothing may go wrong in it."""
    wrong: list[str] = []
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(30_000)
    found = context.new_page()
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    found.route("**/web/app.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    found.goto(server.url)
    mount(found)
    # Formulas and colours are there from now on.
    found.evaluate("async () => { show('$x$\\n\\n```js\\n1\\n```'); await settled(); }")
    found.locator(".hl-number").wait_for()
    found.locator("math").wait_for()
    yield found
    context.close()
    assert wrong == []


def shown(page: Page, text: str, *, streaming: bool = False) -> str:
    """The HTML of a text, without what says nothing about it: parts, pieces, attributes of style."""
    page.evaluate(
        "async ([text, streaming]) => { show('', true); show(text, streaming); await settled(); }", [text, streaming]
    )
    found: str = page.evaluate(
        """() => {
          const copy = shown().cloneNode(true);
          for (const one of copy.querySelectorAll(".formula")) one.replaceWith(`[formula ${one.textContent}]`);
          for (const one of copy.querySelectorAll("figcaption")) one.remove();
          for (const one of copy.querySelectorAll(".part, .piece, .table-frame")) one.replaceWith(...one.childNodes);
          for (const one of copy.querySelectorAll("*"))
            for (const name of ["target", "rel", "title", "dir", "tabindex", "class", "data-language", "decoding", "aria-label"])
              one.removeAttribute(name);
          return copy.innerHTML.replaceAll("<figure><pre><code>", "<pre>").replaceAll("</code></pre></figure>", "</pre>");
        }"""
    )
    return found


BECOMES = [
    ("# a\n\n## b\n\n###### c", "<h3>a</h3><h4>b</h4><h6>c</h6>"),
    ("a\nb", "<p>a<br>b</p>"),
    ("**a** *b* ~~c~~ `d*`", "<p><strong>a</strong> <em>b</em> <del>c</del> <code>d*</code></p>"),
    ("\\*a\\* &amp; &lt;b&gt; &#8230; &nosuch;", "<p>*a* &amp; &lt;b&gt; … &amp;nosuch;</p>"),
    ("`&lt;`", "<p><code>&amp;lt;</code></p>"),
    ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
    ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("- [x] a\n- [ ] b", '<ul><li><span role="img"></span>a</li><li><span role="img"></span>b</li></ul>'),
    ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    ("| a | b |\n|---|---|\n| c |", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>c</td><td></td></tr></tbody></table>"),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    ("```\na\n  b\n```", "<pre>a\n  b\n</pre>"),
    ("  ```\n  a\n   b\n  ```", "<pre>a\n b\n</pre>"),
    ("~~~~\n~~~\n~~~~", "<pre>~~~\n</pre>"),
    ("    a", "<pre>a\n</pre>"),
    ("[a](https://a.example/ä?b=c&amp;d)", '<p><a href="https://a.example/%C3%A4?b=c&amp;d">a</a></p>'),
    ("<https://a.example> <a@b.example>", '<p><a href="https://a.example/">https://a.example</a> <a href="mailto:a@b.example">a@b.example</a></p>'),
    ("[a](javascript:x) [b](/admin)", "<p>[a](javascript:x) [b](/admin)</p>"),
    ("![a](https://a.example/b.png)", '<p><a href="https://a.example/b.png">Image: a</a></p>'),
    ("![a](data:image/png;base64,AA==)", '<p><img src="data:image/png;base64,AA==" alt="a"></p>'),
    ("![a](data:image/svg+xml;base64,AA==)", "<p><span>Image: a</span></p>"),
    ("H<sub>2</sub>O<br>x <b>y", "<p>H<sub>2</sub>O<br>x <b>y</b></p>"),
    ("<div onclick=x>**a**</div>", "<p>&lt;div onclick=x&gt;<strong>a</strong>&lt;/div&gt;</p>"),
    ("<think>a\n\nb</think>", "<p>&lt;think&gt;a</p><p>b&lt;/think&gt;</p>"),
    ("[a][b]\n\n[b]: https://a.example", '<p><a href="https://a.example/">a</a></p>'),
    ("$5 and $6", "<p>$5 and $6</p>"),
    ("$5, or 10$ with tax", "<p>$5, or 10$ with tax</p>"),
    ("US$5 and CA$6 for $HOME and $PATH", "<p>US$5 and CA$6 for $HOME and $PATH</p>"),
    ("$x$ \\(y\\) `$z$`", "<p>[formula x] [formula y] <code>$z$</code></p>"),
    ("a\n\\[\nx\n\\]\nb", "<p>a</p><p>[formula x]</p><p>b</p>"),
    ("$$\nx\n$$", "<p>[formula x]</p>"),
    ("$\\frac{$ and $\\nosuch{x}$", "<p><code>\\frac{</code> and <code>\\nosuch{x}</code></p>"),
    ("a\r\nb\rc", "<p>a<br>b<br>c</p>"),
    ("a\0b", "<p>a\ufffdb</p>"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), BECOMES)
def test_what_it_becomes(page: Page, text: str, wanted: str) -> None:
    assert shown(page, text) == wanted


GROWS = [
    ("a **bo", "<p>a <strong>bo</strong></p>"),
    ("a **", "<p>a </p>"),
    ("a **b *c", "<p>a <strong>b <em>c</em></strong></p>"),
    ("a `b", "<p>a <code>b</code></p>"),
    ("a [b](https://a.exa", "<p>a b</p>"),
    ("a ![b](https://a.exa", "<p>a </p>"),
    ("a\n-", "<p>a</p>"),
    ("a\n1", "<p>a</p>"),
    ("a\n\n#", "<p>a</p>"),
    ("- a\n- ", "<ul><li>a</li></ul>"),
    ("a\n\n```py", "<p>a</p>"),
    ("```py\nx\n``", "<pre>x\n</pre>"),
    ("| a | b |", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody></tbody></table>"),
    ("| a | b |\n|--", "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody></tbody></table>"),
    ("a \\(\\frac{1", "<p>a </p>"),
    ("- a\n  ```\n  **b", "<ul><li>a<pre>**b\n</pre></li></ul>"),
    ("snake_case and 2 * 3", "<p>snake_case and 2 * 3</p>"),
    ("&mda", ""),
]


@pytest.mark.parametrize(("text", "wanted"), GROWS)
def test_an_end_that_is_not_there_yet(page: Page, text: str, wanted: str) -> None:
    assert shown(page, text, streaming=True) == wanted


LONG = "\n\n".join(
    (
        SAMPLE,
        "\n".join(f"{at + 1}. item **{at}** with `code`" for at in range(400)),
        "| a | b |\n|---|---|\n" + "\n".join(f"| {at} | *{at}* |" for at in range(400)),
        "```python\n" + "\n".join(f"x = {at}" for at in range(2000)) + "\n```",
        "- item\n\n  ```\n" + "\n".join(f"  y = {at}" for at in range(1000)) + "\n  ```",
        "word " * 4000,
        "\n".join(f"> line {at}" for at in range(500)),
    )
)


@pytest.mark.parametrize(("text", "step"), [(SAMPLE, 1), (SAMPLE, 7), (LONG, 997)], ids=["letters", "pieces", "long"])
def test_it_grows_into_what_it_is_at_once(page: Page, text: str, step: int) -> None:
    read = """async ([text, step]) => {
      show("", true);
      for (let end = step; end < text.length; end += step) show(text.slice(0, end), true);
      show(text);
      await settled();
      // Where a long table goes on in another one is a matter of time.
      for (const head of shown().querySelectorAll("thead")) head.remove();
      const letters = shown().textContent.replace(/\\s/g, "");
      const count = [...shown().querySelectorAll("li, td, p, pre, a, h3, math")].length;
      show("", true);
      return [letters, count];
    }"""
    grown = page.evaluate(read, [text, step])
    assert page.evaluate(read, [text, len(text)]) == grown
    assert page.evaluate(INSPECT) == []


def test_nothing_turns_into_something_else_while_it_grows(page: Page) -> None:
    changes = page.evaluate(
        """async text => {
          show("", true);
          const changes = [];
          let before = [];
          for (let end = 1; end <= text.length; end += 1) {
            show(text.slice(0, end), true);
            // A page that had no time is not at the end of it yet.
            await drawn();
            const now = [...shown().querySelectorAll(".part > *")].map((one) => one.localName);
            if (before.some((name, at) => name !== now[at])) changes.push(text.slice(0, end).slice(-20));
            before = now;
          }
          return changes;
        }""",
        SAMPLE,
    )
    assert changes == []


def test_finished_blocks_are_not_touched_again(page: Page) -> None:
    touched = page.evaluate(
        """async text => {
          show("", true);
          show(text, true);
          await settled();
          // Colours come from a worker.
          for (const code of shown().querySelectorAll("[data-language]"))
            while (!code.querySelector("[class^=hl-]")) await frame();
          const finished = [...shown().querySelectorAll("h3, ol, table, figure")];
          let touched = 0;
          const watch = new MutationObserver((changes) => (touched += changes.length));
          for (const one of finished) watch.observe(one, { childList: true, subtree: true, characterData: true, attributes: true });
          for (let at = 1; at < 200; at += 1) show(`${text}\\n\\n${"more ".repeat(at)}`, true);
          await settled();
          return [touched, finished.filter((one) => one.isConnected).length === finished.length, finished.length > 4];
        }""",
        SAMPLE.partition("\n---")[0],
    )
    assert touched == [0, True, True]


@pytest.mark.parametrize(
    ("made", "selector"),
    [
        ('"word ".repeat(2e5)', ".plain"),
        ('"```js\\n" + "f(1);".repeat(2e5)', "figure.code"),
        ('"- a\\n".repeat(2e4)', "ul > li"),
    ],
)
def test_a_long_text_is_shown_whole(page: Page, made: str, selector: str) -> None:
    lost = page.evaluate(
        f"""async () => {{
          const text = {made};
          show(text);
          await settled();
          const letters = (one) => one.replace(/[^a-z]/g, "");
          return letters(text.replace("```js", "")) !== letters(
            [...shown().querySelectorAll("{selector.rpartition(" ")[-1]}")].map((one) => (one.querySelector("code") ?? one).textContent).join(""));
        }}"""
    )
    assert not lost
    assert page.locator(selector).count() >= 1


def test_a_continued_text_that_had_ended(page: Page) -> None:
    page.evaluate("async () => { show('a **b'); show('a **b** c', true); show('a **b** c d'); await settled(); }")
    assert page.locator(".markdown").inner_html() == '<div class="part"><p>a <strong>b</strong> c d</p></div>'


def test_another_text_instead(page: Page) -> None:
    page.evaluate("() => { show('# a\\n\\nb', true); show('c'); }")
    expect(page.locator(".markdown")).to_have_text("c")


def test_pictures_that_stand_in_the_text(page: Page) -> None:
    address = "data:image/gif;base64," + "R0lGODlhAQABAAAAACw" + "A" * 40_000
    text = f"before ![a]({address}) after\n\n```\n![a]({address})\n```\n"
    for end in (*range(1, 60), 20_000, 40_070, len(text) // 2, len(text)):
        page.evaluate("([text, streaming]) => show(text, streaming)", [text[:end], end < len(text)])
        assert "base64" not in page.locator(".markdown p").inner_text()
    expect(page.locator(".markdown img")).to_have_attribute("src", address)
    expect(page.locator("figure.code code")).to_contain_text(address)


def test_code_is_coloured_copied_and_wrapped(page: Page) -> None:
    code = "def f(x):\n    return '\u202e' + x\n"
    page.evaluate("text => show(text)", f"```python title=a\n{code}```\n")
    block = page.locator("figure.code")
    expect(block.locator(".hl-keyword").first).to_have_text("def")
    expect(block.locator(".code-language")).to_have_text("python")
    assert block.locator(".turn").get_attribute("data-name") == "U+202E"
    # It is said for a moment only.
    block.evaluate(
        """(block) => {
          window.said = [];
          const watch = new MutationObserver(() => said.push(block.querySelector("[data-does=copy]").textContent));
          watch.observe(block.querySelector("figcaption"), { childList: true, subtree: true, characterData: true });
        }"""
    )
    block.get_by_role("button", name="Copy").click()
    page.wait_for_function("() => said[0] === 'Copied'")
    assert page.evaluate("() => navigator.clipboard.readText()") == code.rstrip("\n")
    wrap = block.get_by_role("button", name="Wrap lines")
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    expect(block.locator(".piece")).to_have_css("white-space", "pre-wrap")


@pytest.mark.parametrize("language", ["", "nosuch", "constructor", "__proto__"])
def test_code_of_no_known_language_stays_plain(page: Page, language: str) -> None:
    page.evaluate("text => show(text)", f"```{language}\nif x\n```\n\n```js\n1\n```\n")
    # One block is worked on after the other.
    page.locator(".hl-number").wait_for()
    assert page.locator("figure.code").first.locator("[class^=hl-]").count() == 0


@pytest.mark.parametrize(
    ("text", "answers"), [("x " * 60_000, True), ("f(1)", False)], ids=["is too long", "takes too long"]
)
def test_code_that_is_too_much_stays_plain_and_the_next_is_coloured(page: Page, text: str, answers: bool) -> None:
    outcome: Any = page.evaluate(
        """async ([text, answers]) => {
          const { highlighted } = await import("/web/lib/highlighting.js");
          const really = Worker.prototype.postMessage;
          if (!answers) Worker.prototype.postMessage = () => {};
          const first = await highlighted(text, "js");
          Worker.prototype.postMessage = really;
          return [first, (await highlighted("1", "js")).length];
        }""",
        [text, answers],
    )
    assert outcome == [None, 1]


def test_a_library_that_is_long_on_its_way_is_waited_for(browser: Browser, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/web/app.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    held: list[Route] = []
    context.route("**/web/vendor/highlight.js", lambda route: held.append(route))
    page.goto(server.url)
    mount(page)
    page.evaluate("() => show('```js\\n1\\n```')")
    eventually(lambda: page.wait_for_timeout(50) or held)
    # Longer than a text may take.
    page.wait_for_timeout(4000)
    held[0].continue_()
    page.locator(".hl-number").wait_for()
    context.close()


def test_libraries_come_with_the_first_block_that_needs_them(browser: Browser, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    page.route("**/web/app.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(server.url)
    mount(page)
    page.evaluate("async () => { show('a `b` | $5'); await settled(); show('```js\\n1', true); await settled(); }")
    assert not {"temml.js", "highlight.js"} & set(asked)
    page.evaluate("() => show('```js\\n1\\n```\\n\\n$x$')")
    page.locator("math").wait_for()
    page.locator(".hl-number").wait_for()
    assert {"temml.js", "highlight.js"} <= set(asked)
    context.close()


INTAKE = """async ([parts]) => {
  const { Intake } = await import("/web/lib/markdown_intake.js");
  const intake = new Intake();
  let source = "";
  const taken = parts.map((part, at) => intake.take((source += part), at === parts.length - 1));
  return [taken.every(Boolean), intake.text, intake.restored(intake.text) === source.replace(/\\r\\n?/g, "\\n"), intake.take("other", true)];
}"""
LARGE = "data:image/png;base64," + "A" * 300


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["a\r", "\nb\r", "c"], "a\nb\nc"),
        ([f"![a]({LARGE}) ![b]({LARGE})"], "![a](data:0) ![b](data:1)"),
        ([f"![a]({LARGE[:9]}", LARGE[9:200], f"{LARGE[200:]}", ") c"], "![a](data:0) c"),
        (["![a](data:image/png;base64,AA)"], "![a](data:image/png;base64,AA)"),
        (["x](", "data", ": no"], "x](data: no"),
    ],
)
def test_what_is_taken_in(page: Page, parts: list[str], text: str) -> None:
    assert page.evaluate(INTAKE, [parts]) == [True, text, True, False]


def test_links_say_where_they_lead_and_leave_the_page_alone(page: Page) -> None:
    page.evaluate("() => show('[bank](https://bank.example@evil.example/)')")
    link = page.locator(".markdown a")
    attributes = json.loads(link.evaluate("one => JSON.stringify([one.target, one.rel, one.title])"))
    assert attributes == ["_blank", "noopener noreferrer nofollow", "https://bank.example@evil.example/"]
