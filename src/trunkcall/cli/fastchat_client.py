"""What FastChat's programs ask a controller and a worker."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from typing import Any, Final

import msgspec

from trunkcall.cli.client import Server
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault, Text
from trunkcall.core.requests import Generate, Message, MessagesPrompt, Reporting, Sampling, TextPart
from trunkcall.protocols import fastchat as codec

_PIECE: Final = 65536


class _Models(msgspec.Struct):
    models: list[str]


class _Address(msgspec.Struct):
    address: str


def controller_flag(parser: argparse.ArgumentParser) -> None:
    """--controller-address, also as --controller and --controller-url."""
    parser.add_argument(
        "--controller-address",
        "--controller-url",
        "--controller",
        metavar="URL",
        default="http://localhost:21001",
        help="where the controller answers",
    )


def worker_flags(parser: argparse.ArgumentParser) -> None:
    """Which worker is asked, and for which model."""
    controller_flag(parser)
    parser.add_argument("--worker-address", "--worker", metavar="URL", help="ask this worker, past the controller")
    parser.add_argument("--model-name", required=True, help="the model, as the worker registered it")


def models(controller: Server) -> list[str]:
    """The names of the models, asked of the workers anew."""
    controller.call("POST", "/refresh_all_workers")
    return sorted(_post(controller, "/list_models", None, _Models).models)


def find_worker(controller: Server, model: str) -> str:
    """A worker's URL; raises ServingError (no_model) when the controller has none."""
    address = _post(controller, "/get_worker_address", {"model": model}, _Address).address
    if not address:
        raise ServingError("no_model", f"No available workers for {model}")
    return address


def template_of(worker: Server, model: str) -> codec.ConvTemplate:
    """How the worker wants conversations written."""
    with worker.open("POST", "/worker_get_conv_template", {"model": model}) as response:
        return codec.read_template(response.read())


def question(model: str, text: str, sampling: Sampling) -> Generate:
    """The request for the answer to one question."""
    prompt = MessagesPrompt((Message("user", (TextPart(text),)),))
    return Generate(model=model, prompt=prompt, sampling=sampling, reporting=Reporting(stream=True))


def answer(worker: Server, request: Generate, template: codec.ConvTemplate) -> Generator[str]:
    """The pieces of an answer as they come; closing the iterator stops the work.

    Raises ServingError, also for a failure that the stream tells.
    """
    body, _ = codec.emit_generate(request, request.model, template, None)
    reader = codec.FrameReader(request)
    with worker.open("POST", "/worker_generate_stream", msgspec.Raw(body)) as response:
        while data := response.read1(_PIECE):
            yield from _texts(reader.feed(data))
    yield from _texts(reader.end())


def _texts(events: list[Any]) -> Generator[str]:
    for event in events:
        if isinstance(event, Fault):
            raise event.error
        if isinstance(event, Text):
            yield event.text


def _post(server: Server, path: str, body: Any, shape: type[Any]) -> Any:
    with server.open("POST", path, body) as response:
        data = response.read()
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.DecodeError:
        raise ServingError("upstream_error", f"{server.url}{path} did not answer as FastChat's controller") from None
