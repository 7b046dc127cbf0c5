"""Traces of real servers: one trace from the caller through two of them, and nothing of what was said in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from otlp_receiver import collecting
from running import Server, eventually

from trunkcall import config
from trunkcall.core.errors import ServingError

Serve = Callable[..., Server]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "a-prompt-that-nobody-may-see"


@pytest.mark.slow
def test_one_trace_through_two_servers(serve: Serve, tmp_path: Path, free_port: int) -> None:
    with collecting() as collector:
        env = {"TRUNKCALL_TELEMETRY": collector.url}
        behind = serve("--model", "x=debug", "--no-pocket", env=env)
        settings = tmp_path / "trunkcall.yaml"
        settings.write_text(
            f"telemetry: {{endpoint: '{collector.url}', headers: {{authorization: 'env:OTLP_KEY'}}}}\n"
            f"models: {{u: {{source: ['openai:http://127.0.0.1:{free_port}/v1#x', 'openai:{behind.url}/v1#x']}},"
            f" t: {{source: 'openai:{behind.url}/v1#x', options: {{normalise: true}}}}}}\n",
            encoding="utf-8",
        )
        front = serve("--config", str(settings), "--no-pocket", env={"OTLP_KEY": "s"})
        for model in ("u", "t"):
            body = {"model": model, "messages": [{"role": "user", "content": SECRET}]}
            assert front.post("/v1/chat/completions", body, traceparent=f"00-{TRACE}-{SPAN}-01")[0] == 200
        front.chat("nobody", "hi")
        eventually(lambda: len(collector.named("chat x")) >= 4 and collector.named("chat nobody"))
        for model in ("u", "t"):
            (asked,) = [span for span in collector.named(f"chat {model}") if span["kind"] == 2]
            tries = [span for span in collector.named(f"chat {model}") if span["kind"] == 3]
            assert (asked["trace"], asked["parent"]) == (TRACE, SPAN)
            assert {span["parent"] for span in tries} == {asked["span"]}
            good = next(span for span in tries if "error.type" not in span)
            assert str(good["server.port"]) == behind.url.rpartition(":")[2]
            (over_there,) = [span for span in collector.named("chat x") if span["parent"] == good["span"]]
            assert over_there["trace"] == TRACE
            assert over_there["gen_ai.response.finish_reasons"] == ["stop"]
        (refused,) = [span for span in collector.named("chat nobody") if span["kind"] == 2]
        assert refused["error.type"] == "no_model"
        assert SECRET.encode() not in b"".join(collector.bodies)
        assert front.stop() == 0


def test_missing_key_of_the_collector_is_told_at_the_start(tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        "telemetry: {endpoint: 'http://127.0.0.1:1', headers: {authorization: 'env:NO_SUCH_KEY'}}\n", encoding="utf-8"
    )
    server = Server("--config", str(settings), "--no-pocket", home=tmp_path / "home")
    assert server.process.wait(50) != 0
    server.stop()
    assert "NO_SUCH_KEY" in server.output
    assert "Traceback" not in server.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("telemetry: collector:4318", "URL"),
        ("telemetry: {endpoint: 'http://c:4318', headers: {authorization: 'Bearer s'}}", "env:NAME"),
        ("telemetry: {endpoint: 'http://c:4318', sample: 2}", "sample"),
        ("telemetry: {endpoint: 'http://c:4318', prompts: true}", "prompts"),
        ("telemetry: {sample: 1}", "endpoint"),
    ],
)
def test_settings_that_cannot_be_are_told_with_their_place(tmp_path: Path, text: str, words: str) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ServingError) as raised:
        config.load(config=settings, home=tmp_path, environ={}, flags=config.Flags())
    assert words in raised.value.message
    assert "trunkcall.yaml:1" in raised.value.message


def test_a_url_alone_is_enough(tmp_path: Path) -> None:
    environ = {"TRUNKCALL_TELEMETRY": "http://c:4318"}
    loaded = config.load(config=None, home=tmp_path, environ=environ, flags=config.Flags())
    assert loaded.settings.telemetry == config.Telemetry("http://c:4318")
