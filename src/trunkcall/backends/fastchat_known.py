"""What is known of a model at a FastChat worker: its conversation template and its context."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

import msgspec

from trunkcall.backends.fastchat_endpoint import Endpoint, refused
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.protocols.fastchat import ConvTemplate, read_template
from trunkcall.protocols.fastchat_questions import ask_about, read_details
from trunkcall.protocols.fastchat_words import CONV_TEMPLATE, MODEL_DETAILS

SECONDS: Final = 60.0
"""How long an answer holds: another model may be started at the same address."""

_MOST: Final = 256


class _Answer(msgspec.Struct, frozen=True):
    until: float
    template: ConvTemplate | None = None
    context: int | None = None


class Known:
    """Templates and contexts by worker and model. chosen: the template to use instead of the workers' own."""

    def __init__(self, chosen: ConvTemplate | None) -> None:
        self._chosen = chosen
        self._templates: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._contexts: OrderedDict[tuple[str, str], _Answer] = OrderedDict()

    async def template(self, worker: Endpoint, model: str) -> ConvTemplate:
        """The template that turns a conversation into the worker's prompt.

        Raises ServingError: unsupported for one that cannot be rendered or is not told, and as Endpoint.ask does.
        """
        if self._chosen is not None:
            return self._chosen
        found = _fresh(self._templates, (worker.url, model))
        if found is not None and found.template is not None:
            return found.template
        status, body = await worker.ask(CONV_TEMPLATE, ask_about(model))
        if status != 200:
            raise refused(worker.url, CONV_TEMPLATE, status, body)
        template = read_template(body)
        _keep(self._templates, (worker.url, model), _Answer(_now() + SECONDS, template=template))
        return template

    async def context(self, worker: Endpoint, model: str) -> int | None:
        """The most tokens that prompt and answer may have; None where the worker does not say.

        Raises ServingError as Endpoint.ask does.
        """
        found = _fresh(self._contexts, (worker.url, model))
        if found is not None:
            return found.context
        status, body = await worker.ask(MODEL_DETAILS, ask_about(model))
        context: int | None = None
        if status == 200:
            try:
                context = read_details(body)
            except ServingError as error:
                log.info("the FastChat worker %s does not tell the context of %r: %s", worker.url, model, error.message)
        _keep(self._contexts, (worker.url, model), _Answer(_now() + SECONDS, context=context))
        return context

    def forget(self, worker: str) -> None:
        """Ask a worker anew, by its URL: it no longer answers, so another may be there next."""
        for answers in (self._templates, self._contexts):
            for key in [key for key in answers if key[0] == worker]:
                del answers[key]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _fresh(answers: OrderedDict[tuple[str, str], _Answer], key: tuple[str, str]) -> _Answer | None:
    found = answers.get(key)
    return found if found is not None and found.until > _now() else None


def _keep(answers: OrderedDict[tuple[str, str], _Answer], key: tuple[str, str], answer: _Answer) -> None:
    answers[key] = answer
    answers.move_to_end(key)
    while len(answers) > _MOST:
        answers.popitem(last=False)
