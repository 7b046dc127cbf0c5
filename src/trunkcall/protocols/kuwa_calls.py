"""Reading Kuwa's calls: the form of a completion becomes Generate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, Session
from trunkcall.protocols.forms import Form
from trunkcall.protocols.kuwa_history import Turns, read_history
from trunkcall.protocols.kuwa_modelfile import Modelfile
from trunkcall.protocols.kuwa_words import NO_INPUT, PREFIX, PROTOCOL
from trunkcall.protocols.openai import read_chat

_encode: Final = msgspec.json.Encoder().encode

_ALIASES: Final = {
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "candidate_count": "n",
    "repeat_penalty": "repetition_penalty",
    "mirostat_mode": "mirostat",
    "stop_sequences": "stop",
}
"""What transformers, Gemini and llama.cpp call it."""

_BESIDE: Final = (
    "model",
    "delay",
    "timeout",
    "logprobs",
    "top_logprobs",
    "messages",
    "input",
    "prompt",
    "stream",
    "stream_options",
)
"""Not for the engine's sampler: kept for the executor, or without meaning in Kuwa."""


class KuwaCall(msgspec.Struct, frozen=True):
    """A completion as its form says it, nothing of it decoded; `language` as in Accept-Language."""

    fields: dict[str, str]
    language: str = ""

    @property
    def name(self) -> str | None:
        """The access code that was asked for."""
        return self.fields.get("name")

    @property
    def history_id(self) -> str | None:
        """The conversation; with the user it names a reservation."""
        return self.fields.get("history_id")

    @property
    def user_id(self) -> str | None:
        """The user; may be left out."""
        return self.fields.get("user_id")

    # Fields may be credentials.
    def __repr__(self) -> str:
        return f"KuwaCall(name={self.name!r}, history_id={self.history_id!r}, user_id={self.user_id!r})"


def read_call(form: Form, language: bytes | None) -> KuwaCall:
    """A completion's form with its Accept-Language; of repeated fields the first counts."""
    return KuwaCall(form.first(), (language or b"").decode("latin-1"))


def read_generate(
    call: KuwaCall, model: str, *, system: str = "", template: str = "", generation: Mapping[str, Any] | None = None
) -> Generate:
    """What the call asks of `model`.

    system, template, generation: what holds where the modelfile says nothing; `generation` has the names of
    its `llm_` parameters, without the prefix. A null is as good as absent. Parameters that OpenAI's protocol
    does not model stay raw in `extra["openai"]`; `llm_model` (text), `llm_delay`, `llm_timeout` (seconds) and
    parameters for others than the model are in `extra["kuwa"]`.

    Raises ServingError (bad_request) for a field or parameter that cannot be read, and with the text NO_INPUT
    when nothing is asked.
    """
    history = read_history(call.fields.get("input", "[]"))
    if not history or not history[-1]["content"].strip():
        raise ServingError("bad_request", NO_INPUT, param="input")
    modelfile = Modelfile.from_json(call.fields.get("modelfile", "[]"))
    asked = _Asked()
    asked.add(generation or {}, "")
    asked.add(modelfile.parameters.under(PREFIX), PREFIX)
    beside = {name: value for name, value in modelfile.parameters.items() if not name.startswith(PREFIX)}
    beside.update((PREFIX + name, asked.values.pop(name)) for name in _BESIDE if name in asked.values)
    if "llm_model" in beside:
        beside["llm_model"] = str(beside["llm_model"])
    for name in ("llm_delay", "llm_timeout"):
        if name in beside:
            _check_seconds(name, beside[name])
    request = asked.read(model, _messages(modelfile, history, system))
    chat_template = modelfile.template or template
    extra = dict(request.extra)
    if beside:
        extra[PROTOCOL] = {name: Raw(_encode(value)) for name, value in beside.items()}
    return msgspec.structs.replace(
        request,
        templating=msgspec.structs.replace(request.templating, chat_template=chat_template)
        if chat_template
        else request.templating,
        session=Session(call.history_id or "", call.user_id or "", call.language),
        extra=extra,
    )


class _Asked:
    """Generation parameters under OpenAI's names, and how the caller spelled each; later layers win."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._spelled: dict[str, str] = {}

    def add(self, layer: Mapping[str, Any], prefix: str) -> None:
        for name, value in layer.items():
            known = _ALIASES.get(name, name)
            if not name or value is None:
                continue
            if isinstance(value, float) and not math.isfinite(value):
                raise ServingError("bad_request", f"{prefix}{name}: expected a finite number", param=prefix + name)
            self.values[known] = value
            self._spelled[known] = prefix + name

    def read(self, model: str, messages: list[dict[str, str]]) -> Generate:
        """They have OpenAI's names and meaning, so they are read, and refused, as OpenAI's."""
        values = dict(self.values)
        if "do_sample" in values and not self._flag("do_sample", values.pop("do_sample")):
            values["temperature"] = 0
        if values.get("max_tokens") == -1:
            # llama.cpp's word for no limit.
            del values["max_tokens"]
        values.update(model=model, messages=messages, stream=True, stream_options={"include_usage": True})
        try:
            return read_chat(_encode(values))
        except ServingError as error:
            name = re.split(r"[.\[]", error.param or "", maxsplit=1)[0]
            if name not in self._spelled:
                raise
            spelled = self._spelled[name]
            what = error.message.removeprefix(name)
            raise ServingError("bad_request", f"{spelled}{what}", param=spelled) from None

    def _flag(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            spelled = self._spelled[name]
            raise ServingError("bad_request", f"{spelled}: expected true or false", param=spelled)
        return value


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ServingError("bad_request", f"{name}: expected a number of seconds, 0 or more", param=name)


def _messages(modelfile: Modelfile, history: Turns, system: str) -> list[dict[str, str]]:
    last = history[-1]
    wrapped = {**last, "content": f"{modelfile.before_prompt}{last['content']}{modelfile.after_prompt}"}
    prompt = modelfile.override_system_prompt or system
    first = [{"role": "system", "content": prompt}] if prompt else []
    return [*first, *modelfile.messages, *history[:-1], wrapped]
