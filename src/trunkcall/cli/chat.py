"""`trunkcall chat`: one answer on stdout, or a conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from trunkcall.cli.client import Server, message_of
from trunkcall.cli.output import complain
from trunkcall.cli.reached import reach
from trunkcall.core.errors import ServingError

Messages = list[dict[str, str]]

_HELP = "Ctrl-C stops an answer, /new starts afresh, Ctrl-D ends."


def chat(
    home: Path | None, url: str | None, key: str | None, model: str | None, system: str | None, prompt: str
) -> int:
    """Answer `prompt` (or what is piped in), else converse; gives the exit code."""
    if url is None:
        own, server = reach(home)
        if server is None:
            raise ServingError(
                "unreachable", "no server runs on this home. Start one with `trunkcall up`, or give --url"
            )
        url = server.url
        key = key or own.operator_key()
    server = Server(url, key)
    name = model or _first_model(server)
    messages: Messages = [{"role": "system", "content": system}] if system else []
    if not prompt and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise ServingError("bad_request", "there is nothing to answer; give a PROMPT or pipe one in")
    if not prompt:
        return _converse(server, name, messages)
    for piece in answer(server, name, [*messages, {"role": "user", "content": prompt}]):
        print(piece, end="", flush=True)
    print()
    return 0


def answer(server: Server, model: str, messages: Messages) -> Generator[str]:
    """The pieces of an answer as they come; closing the iterator stops the work.

    Raises ServingError, also for a failure that the stream tells.
    """
    request = {"model": model, "messages": messages, "stream": True}
    ended = False
    with server.open("POST", "/v1/chat/completions", request) as response:
        for line in response:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            try:
                chunk: Any = msgspec.json.decode(data)
            except msgspec.DecodeError:
                raise ServingError("upstream_error", f"{server.url} sent a chunk that is not JSON") from None
            if message := message_of(chunk):
                raise ServingError("upstream_error", message)
            match chunk:
                case {"choices": [{"delta": {"content": str(text)}}, *_]} if text:
                    yield text
                case {"choices": [{"finish_reason": str()}, *_]}:
                    ended = True
                case _:
                    pass
    if not ended:
        raise ServingError("upstream_error", f"{server.url} broke off in the middle of the answer")


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _first_model(server: Server) -> str:
    found = server.read("/v1/models", _Models).data
    if not found:
        raise ServingError("no_model", f"{server.url} serves no model. Add one: trunkcall models add NAME SOURCE")
    return found[0].id


def _converse(server: Server, model: str, messages: Messages) -> int:
    from rich.console import Console

    with suppress(ImportError):
        import_module("readline")  # gives input() its line editing

    console = Console(highlight=False)
    console.print(f"[bold]{model}[/bold] at {server.url}. {_HELP}", style="dim")
    opening = list(messages)
    while True:
        try:
            said = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if not said:
            continue
        if said == "/new":
            messages = list(opening)
            continue
        messages.append({"role": "user", "content": said})
        pieces: list[str] = []
        stream = answer(server, model, messages)
        try:
            for piece in stream:
                pieces.append(piece)
                console.out(piece, end="")
            print()
        except KeyboardInterrupt:
            console.print(" (stopped)", style="dim")
        except ServingError as error:
            print()
            complain(error)
        finally:
            stream.close()
        if pieces:
            messages.append({"role": "assistant", "content": "".join(pieces)})
        else:
            messages.pop()
