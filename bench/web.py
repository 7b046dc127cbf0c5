"""The web page in a real Chromium: what is transferred, how soon it is seen, how calm it is while answers come."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.chromium import ARGUMENTS, PROGRAM
from bench.gateways import Unavailable
from bench.processes import scratch, unwind_on_signals
from bench.served import serving
from bench.tables import Bar, bars_table, number, table

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LOADS = 5
PACE = 0.01
"""Seconds before each word of an answer."""
TURNS = 100
CHARACTERS = 200_000
"""Of the long conversation: 50,000 tokens of four characters."""
ANSWER = 5_000
"""Characters of the answers that are watched."""
SIZES = (1_000, 100_000, 1_000_000)
UPDATES = 60
WAIT = 60_000.0
"""Milliseconds that anything in the browser may take."""

KILOBYTES_BAR = 400.0
PAINT_BAR = 1.0
SHIFT_BAR = 0.02
FRAME_BAR = 33.4
"""Milliseconds: every second frame of a screen that shows 60 a second."""

_WORDS = "the exchange connects each call to a trunk that is free and tells the operator how long it took".split()

_WATCH = """() => {
  window.seen = { shift: 0, largest: 0, cause: "" };
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) window.seen.largest = one.startTime;
  }).observe({ type: "largest-contentful-paint", buffered: true });
  // As the web's own measure has it: the worst five seconds, with no second of quiet in them.
  let begin = -Infinity, last = -Infinity, sum = 0;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) {
      if (one.hadRecentInput) continue;
      if (one.startTime - last > 1000 || one.startTime - begin > 5000) { begin = one.startTime; sum = 0; }
      last = one.startTime;
      sum += one.value;
      if (sum <= window.seen.shift) continue;
      window.seen.shift = sum;
      window.seen.cause = [...one.sources].map(({ node }) => node?.className || node?.nodeName || "").join(" ");
    }
  }).observe({ type: "layout-shift", buffered: true });
}"""

_FRAMES = """() => {
  const found = { gaps: [], busy: [] };
  let last = 0;
  let on = true;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => found.busy.push(performance.now() - found.began);
  const frame = (now) => {
    if (!on) return;
    if (last) found.gaps.push(now - last);
    last = now;
    // The message is handled once the frame's work, its layout and its painting are done.
    found.began = performance.now();
    channel.port2.postMessage(0);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.endFrames = () => { on = false; return { gaps: found.gaps, busy: found.busy }; };
}"""

_KEEP = """async ([id, turns, at]) => {
  const { fresh, withMessage } = await import("/web/lib/conversation.js");
  const { keep } = await import("/web/lib/store.js");
  let found = fresh({ id, at, model: "m" });
  let parent = "";
  turns.forEach(([question, answer], turn) => {
    const ids = [`q${turn}`, `a${turn}`];
    found = withMessage(found, { id: ids[0], parent, role: "user", at: at + turn, text: question });
    const rest = { model: "m", reasoning: "", toolCalls: [], state: "done", error: null, finish: "stop", figures: {} };
    found = withMessage(found, { id: ids[1], parent: ids[0], role: "assistant", at: at + turn, text: answer, ...rest });
    [, parent] = ids;
  });
  await keep("conversations", found);
}"""

_HAS_COME = r"""last => {
  const answer = document.querySelector(".message:last-child .markdown");
  return answer?.textContent.replace(/\s+/g, " ").includes(last);
}"""

_UPDATES = """async ([text, size, updates]) => {
  const { MarkdownView } = await import("/web/lib/markdown.js");
  const { fetchStylesheet } = await import("/web/lib/stylesheet.js");
  await fetchStylesheet("styles/markdown.css");
  const place = document.createElement("div");
  place.className = "markdown";
  document.body.replaceChildren(place);
  document.body.style.overflow = "auto";
  const view = new MarkdownView(place);
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  view.show(text.slice(0, size), true);
  // Done once nothing has been added for a while.
  for (let quiet = 0, height = -1; quiet < 20; quiet += 1) {
    await frame();
    if (place.scrollHeight !== height) quiet = 0;
    height = place.scrollHeight;
  }
  document.scrollingElement.scrollTop = 1e9;
  const found = [];
  for (let at = 1; at <= updates; at += 1) {
    const began = performance.now();
    view.show(text.slice(0, size + 20 * at), true);
    place.getBoundingClientRect();
    found.push(performance.now() - began);
    await frame();
  }
  return found;
}"""


@dataclass(frozen=True)
class Load:
    """One first visit. kilobytes: transferred, compressed and with headers; first, largest: seconds to the paint."""

    kilobytes: float
    requests: int
    first: float
    largest: float


@dataclass(frozen=True)
class Watched:
    """What was seen while an answer came. gaps: milliseconds between frames; busy: those until a frame was painted.

    cpu: those that the page's thread computed, per frame: the figure that holds on a busy machine.
    """

    what: str
    shift: float
    cause: str
    gaps: list[float]
    busy: list[float]
    cpu: float

    def row(self) -> list[str]:
        spread = [number(at, 1) for values in (self.gaps, self.busy) for at in _spread(values)]
        figures = [f"{len(self.gaps)}", *spread, number(self.cpu, 1), f"{self.shift:.4f}"]
        return [self.what, *figures, self.cause[:60] or "-"]


@dataclass(frozen=True)
class Found:
    """All of it; updates: milliseconds by the size of the text; foreign: requests to other hosts."""

    loads: list[Load]
    watched: list[Watched]
    opening: float
    updates: dict[int, list[float]]
    foreign: list[str]


def _spread(values: list[float]) -> tuple[float, float, float]:
    """Median, 95th percentile, most."""
    return statistics.median(values), statistics.quantiles(values, n=20)[18], max(values)


def markdown(characters: int, seed: int) -> str:
    """A text as models write it, of about so many characters."""
    draw = random.Random(seed)

    def sentence(words: int) -> str:
        marked = ("**a trunk**", "`call()`", "*now*", "[docs](https://docs.example/x)")
        return " ".join(draw.choice(marked) if draw.random() < 0.06 else draw.choice(_WORDS) for _ in range(words))

    def block() -> str:
        match draw.randrange(8):
            case 0:
                return f"## {sentence(4)}"
            case 1:
                return "\n".join(f"{at}. {sentence(10)}" for at in range(1, 7))
            case 2:
                lines = "\n".join(f"    line_{at} = connect({at}, 'trunk')  # {at}" for at in range(8))
                return f"```python\ndef f():\n{lines}\n```"
            case 3:
                rows = "\n".join(f"| {sentence(2)} | {at} |" for at in range(5))
                return f"| Call | Count |\n|---|---:|\n{rows}"
            case _:
                return sentence(50)

    blocks: list[str] = []
    while sum(map(len, blocks)) < characters:
        blocks.append(block())
    return "\n\n".join(blocks)


@contextmanager
def chromium() -> Generator[Browser]:
    """Raises Unavailable where Playwright or Chromium is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Unavailable("Playwright is not installed: run this in .venv as `make test` makes it") from None
    if PROGRAM is None:
        raise Unavailable("there is no Chromium: apt-get install chromium, or name one by TRUNKCALL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def _load(page: Page, url: str) -> Load:
    """page: of a context of its own, so that nothing is cached."""
    sizes: list[float] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    page.goto(url)
    page.locator(".composer textarea").first.wait_for()
    page.wait_for_timeout(1000)
    paints = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    first, largest = page.evaluate(f"() => [{paints}, seen.largest]")
    return Load(sum(sizes) / 1000, len(sizes), first / 1000, largest / 1000)


def _ask(page: Page, what: str, text: str) -> Watched:
    """Ask a model that repeats what it is asked, and watch the answer come."""
    composer = page.locator(".composer textarea").last
    composer.fill(text)
    # Shifts within half a second of a key do not count: they are wanted.
    page.evaluate("() => Object.assign(seen, { shift: 0, cause: '' })")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def computed() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in told if one["name"] == "TaskDuration")

    before = computed()
    page.evaluate(_FRAMES)
    composer.press("Enter")
    last = " ".join(text.split()[-3:])
    page.wait_for_function(_HAS_COME, arg=last)
    frames: dict[str, list[float]] = page.evaluate("() => endFrames()")
    seen: dict[str, Any] = page.evaluate("() => seen")
    cpu = (computed() - before) * 1000 / len(frames["busy"])
    return Watched(what, seen["shift"], seen["cause"], frames["gaps"], frames["busy"], cpu)


def measure(browser: Browser, url: str, sizes: tuple[int, ...]) -> Found:
    """Everything, one after the other, against a server whose model `m` repeats what it is asked."""
    foreign: list[str] = []

    def visit() -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(WAIT)
        context.add_init_script(f"({_WATCH})()")
        ours = (url, "data:", "blob:")
        context.on("request", lambda asked: None if asked.url.startswith(ours) else foreign.append(asked.url))
        return context.new_page()

    loads: list[Load] = []
    for _ in range(LOADS):
        page = visit()
        loads.append(_load(page, f"{url}/?model=m"))
        page.context.close()

    page = visit()
    page.goto(f"{url}/?model=m")
    question = f"{markdown(ANSWER, 1)}\n\nthat is all there is"
    watched = [_ask(page, "an empty conversation", question)]

    each = CHARACTERS // TURNS
    turns = [[markdown(each // 10, 2 * turn), markdown(each * 9 // 10, 2 * turn + 1)] for turn in range(TURNS)]
    page.evaluate(_KEEP, ["long", turns, int(time.time() * 1000)])
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(f"{url}/#/chat/long")
    page.locator(".message").nth(2 * TURNS - 1).wait_for(state="attached")
    page.locator(".message:last-child .markdown").wait_for()
    opening = time.monotonic() - began
    page.wait_for_timeout(2000)
    watched.append(_ask(page, f"{TURNS} turns, 50,000 tokens", question))

    updates: dict[int, list[float]] = {}
    for size in sizes:
        text = markdown(size + 20 * UPDATES, 7)
        updates[size] = page.evaluate(_UPDATES, [text, size, UPDATES])
    page.context.close()
    return Found(loads, watched, opening, updates, foreign)


def bars(found: Found) -> list[Bar]:
    """What the issue of the web page asks for."""
    long = found.watched[-1]
    return [
        Bar("first page, kB transferred", statistics.median(one.kilobytes for one in found.loads), KILOBYTES_BAR),
        Bar("first paint, s", statistics.median(one.first for one in found.loads), PAINT_BAR),
        Bar("largest paint, s", statistics.median(one.largest for one in found.loads), PAINT_BAR),
        *(Bar(f"layout shift, {one.what}", one.shift, SHIFT_BAR) for one in found.watched),
        Bar("between frames, p95, ms, long conversation", _spread(long.gaps)[1], FRAME_BAR),
        Bar("requests to other hosts", float(len(found.foreign)), 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the text of a megabyte")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()
    unwind_on_signals()
    try:
        with scratch() as place, chromium() as browser, serving({"source": f"debug:{PACE}"}, place) as served:
            served.ready()
            found = measure(browser, f"http://127.0.0.1:{served.port}", SIZES[:-1] if options.quick else SIZES)
    except Unavailable as error:
        print(f"not measured: {error}")
        return 1
    rows = [
        [f"{at}", number(one.kilobytes), f"{one.requests}", number(one.first, 2), number(one.largest, 2), "cold cache"]
        for at, one in enumerate(found.loads, 1)
    ]
    print(table("A first visit", ("visit", "kB", "requests", "first paint s", "largest paint s", "note"), rows))
    spread = ("p50", "p95", "max")
    head = ("while an answer comes", "frames", *(f"{what} {at}" for what in ("gap", "busy") for at in spread))
    head = (*head, "CPU", "shift", "what moved")
    print(table(f"Frames in ms while {ANSWER:,} characters stream into", head, [one.row() for one in found.watched]))
    load = os.getloadavg()[0]
    print(f"the long conversation was there after {found.opening:.2f} s; load average {load:.1f}")
    sized = [
        [f"{size:,} characters", *(number(one, 2) for one in _spread(values)), "ms, with layout"]
        for size, values in found.updates.items()
    ]
    print(table("One more word of an answer of", ("length", "p50", "p95", "max", "note"), sized))
    print(bars_table(bars(found)))
    if options.json:
        figures = {"bars": [bar.row() for bar in bars(found)], "updates": found.updates}
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
