"""FastChat's file of API endpoints: models of other makers' servers, which become models of this server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trunkcall import config
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, Source
from trunkcall.protocols.anthropic import SAMPLED

KEY_NAME: Final = "TRUNKCALL_AS_UPSTREAM_KEY"
"""The environment variables through which the file's keys reach the settings, with a number behind each."""

_SCHEMES: Final = {
    "openai": "openai",
    "openai_no_stream": "openai",
    "openai_o1": "openai",
    "anthropic": "anthropic",
    "anthropic_message": "anthropic",
    "gemini": "gemini",
    "gemini_no_stream": "gemini",
}
"""api_type -> how the model is called."""
_OPENAI: Final = "https://api.openai.com/v1"
_WHY_NOT: Final = {
    "openai_assistant": "an assistant keeps its conversations at OpenAI; take its model with the type openai",
    "bard": "Google has switched it off; take a model of the type gemini",
    "vertex": "its keys are those of a Google Cloud account; take the same model with the type gemini",
    "anthropic_message_vertex": "its keys are those of a Google Cloud account; take the type anthropic_message",
    "p2l": "it chooses among the other models of an arena",
}
_NOT_SPOKEN: Final = "its protocol is not spoken here; where the maker has a URL like OpenAI's, take the type openai"


class _Recommended(msgspec.Struct):
    temperature: float | None = None
    top_p: float | None = None


class _Endpoint(msgspec.Struct):
    model_name: str
    api_type: str
    api_base: str | None = None
    api_key: str | None = None
    anony_only: bool = False
    custom_system_prompt: bool = False
    recommended_config: _Recommended | None = None


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Models by name, ready for the settings.

    defaults: how each is sampled when a request does not say, as the api fastchat_openai takes it; secrets: what the
    models refer to; notes: what the user should know.
    """

    models: dict[str, ModelSettings] = {}
    defaults: dict[str, dict[str, float]] = {}
    secrets: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    # Secrets.
    def __repr__(self) -> str:
        return f"Endpoints({', '.join(self.models)})"


def read_endpoints(path: str) -> Endpoints:
    """The models of a file, NAME -> {model_name, api_type, api_base, api_key, …}.

    Raises ServingError (bad_request) that names the place of a mistake.
    """
    models: dict[str, ModelSettings] = {}
    defaults: dict[str, dict[str, float]] = {}
    secrets: dict[str, str] = {}
    notes: list[str] = []
    for name, entry in _read(path).items():
        place = f"{path}: {name}"
        try:
            endpoint = msgspec.convert(entry, _Endpoint)
        except msgspec.ValidationError as error:
            raise ServingError("bad_request", f"{place}: {error}") from None
        scheme = _SCHEMES.get(endpoint.api_type)
        if scheme is None:
            notes.append(f"{name} is left out: {endpoint.api_type}: {_WHY_NOT.get(endpoint.api_type, _NOT_SPOKEN)}")
            continue
        model = _model(name, scheme, endpoint, place)
        if endpoint.api_key:
            variable = f"{KEY_NAME}_{len(secrets) + 1}"
            secrets[variable] = endpoint.api_key
            model = msgspec.structs.replace(model, key=f"env:{variable}")
        models[name] = model
        defaults[name] = _defaults(endpoint)
        if endpoint.anony_only:
            notes.append(f"{name} was for battles only (anony_only); here everybody who may call can ask it")
        if endpoint.custom_system_prompt:
            notes.append(f"{name}: custom_system_prompt: a system prompt is the caller's to send")
    return Endpoints(models=models, defaults=defaults, secrets=secrets, notes=tuple(notes))


def _read(path: str) -> dict[str, Any]:
    flag = "--register-api-endpoint-file"
    try:
        return msgspec.json.decode(Path(path).expanduser().read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ServingError("bad_request", f"{flag}: {path!r} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "bad_request", f"{flag}: {path!r} is not a JSON object of endpoints by their names: {error}"
        ) from None


def _model(name: str, scheme: str, endpoint: _Endpoint, place: str) -> ModelSettings:
    base = (endpoint.api_base or "").rstrip("/")
    options: dict[str, Any] = {}
    if scheme == "openai":
        base = base or _OPENAI
        if not urlsplit(base).path:
            # FastChat puts nothing between a base and the route.
            options["path"] = ""
    elif scheme == "anthropic":
        options["version"] = SAMPLED
    source = Source(scheme, base, endpoint.model_name) if base else Source(scheme, endpoint.model_name)
    entry = {"source": str(source), "options": options}
    return config.model(name, entry, base=Path.cwd(), place=lambda part: f"{place}{part}")


def _defaults(endpoint: _Endpoint) -> dict[str, float]:
    recommended = endpoint.recommended_config or _Recommended()
    if endpoint.api_type == "openai_o1":
        # These models refuse both.
        return {}
    given = {"temperature": recommended.temperature, "top_p": recommended.top_p}
    return {name: value for name, value in given.items() if value is not None}
