"""The models page in a real browser: every model with its replicas, adding, changing, loading and removing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from engines import stand_in
from engines.model_folders import put_model
from playwright.sync_api import Locator, Page, expect
from running import Server, eventually
from web.chats import unhurried
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

Visit = Callable[..., Page]
REFUSED = "the server responded with a status of"
START = 60_000
"""Milliseconds in which an engine is there."""
LOOKS = 90_000
"""Milliseconds in which the page has looked again, also when its last look took seconds: it looks the less often then."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def write(folder: Path, **more: Any) -> Path:
    path = folder / "trunkcall.yaml"
    vllm = {"source": f"vllm:{folder / 'model'}", "options": {"sleep": True, "runtime_lora": True}}
    written = {"source": ["debug", "debug:0.5"], "aliases": ["other"], "price": {"prompt": 1.5}}
    path.write_text(json.dumps({"models": {"written": written, "tuned": vllm, **more}}))
    return path


@pytest.fixture(scope="module")
def administered(folder: Path) -> Iterator[Server]:
    put_model(folder / "model")
    env = {
        "TRUNKCALL_VLLM": str(stand_in.program(folder, "vllm")),
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "STAND_IN": json.dumps({"broken_if": str(folder / "not-yet"), "says": ["a line of its log"]}),
    }
    with Server("--config", str(write(folder)), home=folder / "home", env=env) as server:
        yield server


@pytest.fixture
def models(administered: Server, visit: Visit) -> Page:
    page = visit("models", at=administered.url, allow=(REFUSED,))
    expect(page.get_by_role("link", name="pocket", exact=True)).to_be_visible()
    return page


def card(page: Page, name: str) -> Locator:
    return page.locator(".model-card", has=page.get_by_role("link", name=name, exact=True))


def show(page: Page, name: str) -> None:
    page.evaluate("name => { location.hash = `#/models/${encodeURIComponent(name)}`; }", name)
    expect(page.get_by_role("heading", name=name, exact=True, level=1)).to_be_visible()


def add_dialog(page: Page, source: str) -> Locator:
    page.get_by_role("button", name="Add a model").click()
    dialog = page.get_by_role("dialog", name="Add a model")
    dialog.get_by_label("What to add").fill(source)
    return dialog


def test_all_models_and_the_machine(models: Page, administered: Server) -> None:
    assert administered.request("POST", "/admin/models/pocket/unload", {})[0] == 200
    expect(models.locator(".model-card")).to_have_count(3)
    expect(card(models, "written")).to_contain_text("and one more")
    expect(card(models, "written")).to_contain_text("other")
    expect(card(models, "written")).to_contain_text("2 of 2")
    expect(card(models, "pocket")).to_contain_text("off")
    machine = models.get_by_role("region", name="This machine")
    expect(machine).to_contain_text(re.compile(r"\d+ cores?"))
    expect(machine).to_contain_text("free")


def test_loading_unloading_and_the_way_back(models: Page, administered: Server) -> None:
    unhurried(models)
    card(models, "pocket").get_by_role("button", name="Load").click()
    expect(card(models, "pocket").locator(".badge")).to_have_text("ready", timeout=START)
    expect(card(models, "pocket")).to_contain_text("MiB")
    card(models, "pocket").get_by_role("button", name="Unload").click()
    expect(card(models, "pocket").locator(".badge")).to_have_text("off")
    models.get_by_role("button", name="Undo").click()
    expect(card(models, "pocket").locator(".badge")).to_have_text("ready", timeout=START)
    show(models, "pocket")
    replica = models.locator(".replica")
    expect(replica).to_contain_text("llamacpp")
    expect(replica).to_contain_text("http://127.0.0.1:")
    expect(replica).to_contain_text("loaded 2 times")
    expect(models.locator(".news")).to_contain_text("pocket/0 ready")
    models.get_by_role("button", name="Drain").click()
    expect(models.locator(".model-head .badge")).to_have_text("draining")
    models.get_by_role("button", name="Undo").click()
    expect(models.locator(".model-head .badge")).to_have_text("ready")
    pid = administered.get("/admin/models/pocket")["replicas"][0]["pid"]
    models.get_by_role("button", name="Restart").click()
    expect(models.get_by_text("pocket has been started anew")).to_be_visible(timeout=START)
    assert administered.get("/admin/models/pocket")["replicas"][0]["pid"] != pid


def test_running_answers_are_asked_for(models: Page) -> None:
    def busy(route: Any) -> None:
        told = route.fetch().json()
        for model in told["models"]:
            if model["name"] == "pocket":
                model["replicas"][0].update(state="ready", in_flight=2)
        route.fulfill(json=told)

    orders: list[str] = []
    models.on("request", lambda asked: orders.append(asked.url) if asked.method == "POST" else None)
    models.route("**/admin/models", busy)
    expect(card(models, "pocket")).to_contain_text(re.compile(r"Running\s*2"))
    card(models, "pocket").get_by_role("button", name="Unload").click()
    asked = models.get_by_role("dialog", name="Unload pocket?")
    expect(asked).to_contain_text("2 requests run or wait")
    models.keyboard.press("Escape")
    expect(asked).to_be_hidden()
    assert orders == []
    card(models, "pocket").get_by_role("button", name="Unload").click()
    with models.expect_request(lambda request: request.url.endswith("/admin/models/pocket/unload")):
        asked.get_by_role("button", name="Unload").click()
    models.unroute_all(behavior="ignoreErrors")


def test_adding_changing_and_removing(models: Page, administered: Server) -> None:
    dialog = add_dialog(models, "pocket")
    expect(dialog.get_by_label("Name", exact=True)).to_have_value("pocket-2")
    expect(dialog.get_by_text(re.compile(r"About .* of memory; .* It fits\."))).to_be_visible()
    dialog.get_by_label("Name", exact=True).fill("mine")
    dialog.get_by_text("Settings", exact=True).click()
    for label, wrong, said, right in (
        ("Unload after", "soon", "'soon' is not a duration", "10m"),
        ("Options, one name=value per line", "contxt=256", "context", "context=256"),
        ("Fallback", "nobody", "nobody", "written"),
        ("Aliases", "other", "other", "another"),
        ("Key", "sk-secret", "env:NAME", ""),
    ):
        field = models.get_by_label(label, exact=True)
        field.fill(wrong)
        dialog.get_by_role("button", name="Add", exact=True).click()
        error = dialog.locator(".field", has=field).locator(".field-error")
        expect(error).to_contain_text(said)
        expect(field).to_have_attribute("aria-invalid", "true")
        field.fill(right)
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(models.get_by_role("heading", name="mine", exact=True, level=1)).to_be_visible()
    added = administered.get("/admin/settings")["settings"]["models"]["mine"]
    assert (added["ttl"], added["options"], added["fallback"]) == (600.0, {"context": 256}, ["written"])

    models.locator(".model-settings").get_by_role("button", name="Edit").click()
    edit = models.get_by_role("dialog", name="Settings of mine")
    expect(edit.get_by_role("button", name="Save")).to_be_disabled()
    edit.get_by_label("Replicas", exact=True).fill("2")
    edit.get_by_label("Fallback", exact=True).fill("")
    expect(edit).to_contain_text("It fits.")
    edit.get_by_role("button", name="Save").click()
    expect(models.locator(".replica")).to_have_count(2)
    assert "fallback" not in administered.get("/admin/settings")["settings"]["models"]["mine"]

    models.get_by_role("button", name="Remove").click()
    asked = models.get_by_role("dialog", name="Remove mine?")
    expect(asked).to_contain_text("Files on disk stay")
    unhurried(models)
    asked.get_by_role("button", name="Remove").click()
    expect(card(models, "written")).to_be_visible()
    expect(card(models, "mine")).to_have_count(0)
    models.get_by_role("button", name="Undo").click()
    expect(card(models, "mine")).to_be_visible()
    again = administered.get("/admin/settings")["settings"]["models"]["mine"]
    assert (again["ttl"], again["aliases"], again["source"]) == (600.0, ["another"], ["pocket", "pocket"])
    assert administered.request("DELETE", "/admin/models/mine")[0] == 200


def test_a_dialog_that_was_closed_keeps_what_was_typed(models: Page) -> None:
    add_dialog(models, "debug:0.25")
    models.keyboard.press("Escape")
    expect(models.get_by_role("button", name="Add a model")).to_be_focused()
    models.get_by_role("button", name="Add a model").click()
    dialog = models.get_by_role("dialog", name="Add a model")
    expect(dialog.get_by_label("What to add")).to_have_value("debug:0.25")
    expect(dialog).to_contain_text("Nothing is started on this machine")


def test_a_source_that_cannot_be(models: Page) -> None:
    for source, said in (("/nowhere/model.gguf", "does not exist"), ("nonsense:x", "nonsense")):
        dialog = add_dialog(models, source)
        expect(dialog.locator(".field-error")).to_contain_text(said)
        expect(dialog.get_by_label("What to add")).to_have_attribute("aria-invalid", "true")
        models.keyboard.press("Escape")


def test_adding_from_a_servers_address(models: Page, administered: Server, server: Server) -> None:
    models.get_by_role("button", name="Add a model").click()
    dialog = models.get_by_role("dialog", name="Add a model")
    models.evaluate("text => navigator.clipboard.writeText(text)", urlsplit(server.url).netloc)
    dialog.get_by_label("What to add").focus()
    models.keyboard.press("ControlOrMeta+v")
    for name in ("echo", "pocket"):
        dialog.get_by_role("checkbox", name=re.compile(rf"^{name}\b")).check()
    expect(dialog.get_by_label("Name here for pocket")).to_have_value("pocket-2")
    dialog.get_by_label("Name here for echo").fill("written")
    dialog.get_by_role("button", name="Add 2 models").click()
    expect(dialog.get_by_role("alert")).to_contain_text("written")
    dialog.get_by_label("Name here for echo").fill("far")
    dialog.get_by_role("button", name="Add 2 models").click()
    expect(card(models, "far")).to_be_visible()
    expect(card(models, "pocket-2")).to_be_visible()
    assert administered.chat("far", "hello")[2]["choices"][0]["message"]["content"] == "hello"
    for name in ("far", "pocket-2"):
        assert administered.request("DELETE", f"/admin/models/{name}")[0] == 200
    expect(card(models, "far")).to_have_count(0)
    expect(models.locator(".news")).to_contain_text("far was removed")


def test_an_address_where_nothing_answers(models: Page) -> None:
    dialog = add_dialog(models, "127.0.0.1:9")
    dialog.get_by_role("button", name="Look what is there").click()
    expect(dialog.locator(".probed")).to_contain_text("Nothing answers there")
    expect(dialog.locator(".probed")).to_contain_text("kinds were tried")
    expect(dialog.get_by_role("button", name="Look again")).to_be_enabled()


def test_the_progress_the_log_and_adapters_of_an_engine(models: Page, folder: Path, administered: Server) -> None:
    show(models, "tuned")
    loading = folder / "not-yet"
    loading.touch()
    models.locator(".model-head").get_by_role("button", name="Load").click()
    expect(models.locator(".replica").get_by_role("progressbar")).to_be_visible()
    loading.unlink()
    expect(models.locator(".model-head .badge")).to_have_text("ready", timeout=START)
    log = models.get_by_role("region", name="Log").locator("pre")
    expect(log).to_contain_text("stand-in")
    expect(log).to_contain_text("a line of its log")
    models.get_by_role("button", name="Hold the log still").click()
    models.get_by_role("button", name="Copy the log").click()
    eventually(lambda: "a line of its log" in models.evaluate("() => navigator.clipboard.readText()"))
    models.get_by_role("button", name="Follow the log again").click()

    adapters = models.get_by_role("region", name="LoRA adapters")
    adapters.get_by_label("Name", exact=True).fill("style")
    adapters.get_by_label(re.compile("^Folder")).fill(str(folder / "nowhere"))
    adapters.get_by_role("button", name="Add").click()
    expect(adapters.get_by_role("alert")).to_contain_text("No adapter found")
    adapters.get_by_label(re.compile("^Folder")).fill(str(folder))
    adapters.get_by_role("button", name="Add").click()
    expect(adapters.get_by_role("listitem")).to_contain_text("style")
    assert administered.chat("style", "hello")[2]["model"] == "style"
    models.get_by_role("link", name="All models").click()
    expect(models.locator(".model-card")).to_have_count(3)
    expect(card(models, "tuned")).to_contain_text("Also style")
    show(models, "tuned")
    adapters.get_by_role("button", name="Drop style").click()
    expect(adapters.get_by_role("listitem")).to_have_count(0)

    assert administered.request("PATCH", "/admin/models/tuned", {"asleep": True})[0] == 200
    expect(models.locator(".model-head .badge")).to_have_text("asleep")
    models.get_by_role("button", name="Wake").click()
    expect(models.locator(".model-head .badge")).to_have_text("ready")


def test_a_model_of_the_file_and_a_file_that_changed(models: Page, folder: Path) -> None:
    show(models, "written")
    settings = models.get_by_role("region", name="Settings")
    expect(settings).to_contain_text("trunkcall.yaml:1")
    expect(settings.get_by_role("button", name="Edit")).to_have_count(0)
    expect(models.get_by_role("button", name="Remove")).to_have_count(0)
    models.get_by_role("link", name="All models").click()
    write(folder, later="debug")
    note = models.get_by_text("was changed since it was read")
    expect(note).to_be_visible(timeout=LOOKS)
    models.get_by_role("button", name="Reload the settings").click()
    expect(card(models, "later")).to_be_visible()
    expect(models.get_by_text(re.compile("Changed: models.later"))).to_be_visible()
    expect(note).to_be_hidden()
    expect(models.locator(".news")).to_contain_text("models.later was changed by a reload")
    write(folder)
    expect(note).to_be_visible(timeout=LOOKS)
    models.get_by_role("button", name="Reload the settings").click()
    expect(card(models, "later")).to_have_count(0)


def test_a_model_that_is_not_there(administered: Server, visit: Visit) -> None:
    page = visit("models/nobody", at=administered.url)
    expect(page.get_by_role("heading", name="There is no model nobody")).to_be_visible()


def test_nothing_is_wider_than_a_phone(administered: Server, visit: Visit) -> None:
    wide = "[...document.querySelectorAll('main, dialog')].filter(one => one.scrollWidth > one.clientWidth + 1).length"

    def fits() -> None:
        eventually(lambda: page.evaluate(wide) == 0)

    page = visit("models", at=administered.url, size={**PHONE, "width": 360})
    expect(card(page, "written")).to_be_visible()
    fits()
    dialog = add_dialog(page, "pocket")
    dialog.get_by_text("Settings", exact=True).click()
    fits()
    page.keyboard.press("Escape")
    show(page, "tuned")
    fits()


def test_without_models(visit: Visit, tmp_path: Path) -> None:
    with Server("--no-pocket", home=tmp_path) as server:
        page = visit("models", at=server.url, allow=("ERR_",))
        expect(page.get_by_role("heading", name="No models yet")).to_be_visible()
        page.locator(".empty-state").get_by_role("button", name="Add a model").click()
        expect(page.get_by_role("dialog", name="Add a model")).to_be_visible()


def test_a_locked_list_is_only_looked_at(visit: Visit, tmp_path: Path) -> None:
    config = tmp_path / "trunkcall.yaml"
    config.write_text(json.dumps({"listen": {"port": 0, "options": {"web": {"locked": True}}}}))
    with Server("--config", str(config), home=tmp_path / "home") as server:
        page = visit("models", at=server.url, allow=("ERR_",))
        expect(page.get_by_text("is locked")).to_be_visible()
        for name in ("", "pocket"):
            if name:
                show(page, name)
            expect(page.get_by_role("link", name="Chat with pocket")).to_be_visible()
            for verb in ("Add a model", "Load", "Unload", "Drain", "Restart", "Remove", "Edit", "Reload the settings"):
                expect(page.get_by_role("button", name=verb, exact=True)).to_have_count(0)


def test_who_does_not_administer_sees_no_such_page(visit: Visit, closed: Any) -> None:
    page = visit("models", at=closed.server.url, secret=closed.secrets["anna"])
    expect(page.get_by_role("link", name="Chat", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Models", exact=True)).to_have_count(0)
    expect(page.locator(".models-page")).to_have_count(0)


def test_the_progress_of_a_download(models: Page) -> None:
    def fetching(route: Any) -> None:
        told = route.fetch().json()
        progress = "downloading org/name: 25 %, 1.2 GB of 4.7 GB, 10.0 MB/s, 350 s left"
        for model in told["models"]:
            if model["name"] == "pocket":
                model["replicas"][0].update(state="starting", progress=progress)
        route.fulfill(json=told)

    models.route("**/admin/models", fetching)
    expect(card(models, "pocket").locator(".badge")).to_have_text("loading 25 %")
    expect(card(models, "pocket").get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    expect(card(models, "pocket")).to_contain_text("1.2 GB of 4.7 GB")
    expect(models.get_by_role("heading", name="3 models")).to_be_visible()
    models.unroute_all(behavior="ignoreErrors")


def test_gpus(models: Page) -> None:
    gib = 2**30
    gpus = {
        "gpus": ["NVIDIA H200", "NVIDIA L4"],
        "gpu_memory": [140 * gib, 24 * gib],
        "gpu_free": [100 * gib, 24 * gib],
    }
    told = {"cores": 16, "memory": 128 * gib, "free": 64 * gib, **gpus}
    models.route("**/admin/machine", lambda route: route.fulfill(json=told))
    models.reload()
    machine = models.get_by_role("region", name="This machine")
    expect(machine).to_contain_text("2 GPUs")
    expect(machine).to_contain_text("100 GiB of 140 GiB free")
    expect(machine.get_by_role("img", name="NVIDIA H200: 40 GiB in use")).to_be_visible()


def test_what_others_do_is_seen(models: Page, administered: Server) -> None:
    # What happens before its stream of events is there is no news.
    models.goto("about:blank")
    models.goto(administered.url)
    with models.expect_response(lambda answer: "/admin/events" in answer.url):
        models.evaluate("() => { location.hash = '#/models'; }")
    expect(card(models, "written")).to_be_visible()
    assert administered.post("/admin/models", {"name": "theirs", "source": "debug"})[0] == 201
    expect(card(models, "theirs")).to_be_visible()
    expect(models.locator(".news")).to_contain_text("theirs was added")
    assert administered.request("DELETE", "/admin/models/theirs")[0] == 200
    expect(card(models, "theirs")).to_have_count(0)


def test_a_broken_stream_of_events_begins_anew(administered: Server, visit: Visit) -> None:
    page = visit("", at=administered.url, allow=("ERR_FAILED",))
    broken: list[str] = []

    def once(route: Any) -> None:
        broken.append(route.request.url)
        if len(broken) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/admin/events*", once)
    # Of the first one there is no response.
    with page.expect_response(lambda answer: "/admin/events" in answer.url):
        page.evaluate("() => { location.hash = '#/models'; }")
    expect(card(page, "written")).to_be_visible()
    assert administered.post("/admin/models", {"name": "late", "source": "debug"})[0] == 201
    expect(page.locator(".news")).to_contain_text("late was added")
    assert administered.request("DELETE", "/admin/models/late")[0] == 200
