"""What each of Kuwa's built-in executors is here: a source with its options, and how it is asked."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Source, is_path
from trunkcall.engines.gguf import read_head
from trunkcall.engines.llamacpp import DEFAULT_CONTEXT
from trunkcall.engines.weights import read_checkpoint
from trunkcall.protocols.kuwa_words import NO_KEY_GOOGLE, NO_KEY_OPENAI, NO_KEY_THIRD_PARTY, WARNING_CLOSE, WARNING_OPEN
from trunkcall.takeover.kuwa_generation import read_generation
from trunkcall.takeover.urls import check_url

KEY_NAME: Final = "TRUNKCALL_AS_KEY"
"""The environment variable through which a key of the command line reaches the server's settings."""

DUMMY_TEXT: Final = f"""\
Hello, I am a language model nice to meet you...etc. xD
{WARNING_OPEN}
This is a test warning
This is the second test warning
{WARNING_CLOSE}
Warning can be outputted in the middle
{WARNING_OPEN}
Warning 2, hi
{WARNING_CLOSE}
End of simulated text output
"""
"""Scripts compare it: byte for byte what the dummy executors 0.1.0 and 0.3.4 answer."""

_HUGGINGFACE_DEFAULTS: Final = {"max_new_tokens": 4096, "do_sample": False, "repetition_penalty": 1.0}
_ROUTE_OF_OLLAMA: Final = frozenset(
    "temperature top_p max_tokens num_predict stop seed frequency_penalty presence_penalty".split()
)
"""Parameters that Ollama's OpenAI-compatible route takes; it passes over others without a word."""
_HUB: Final = "hf://"
_GONE_GEMINI: Final = "gemini-1.0-pro"
_ROOM_FOR_INPUT: Final = 3072 / 4096
"""Of a context, as the original divides its default one."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """An executor as a model.

    code: its default access code; options, env, key: of the model; serving: options of the api
    kuwa_executor; secrets and notes: as in Plan.
    """

    code: str
    source: Source
    options: dict[str, Any] = {}
    env: dict[str, str] = {}
    key: str = ""
    serving: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    # Secrets.
    def __repr__(self) -> str:
        return f"Chosen({self.code!r}, {self.source!s})"


def choose(executor: str, asked: argparse.Namespace) -> Chosen:
    """The model of an executor whose flags were parsed.

    Raises ServingError: no_model without a model's path, bad_request for a value or a configuration file that
    cannot work.
    """
    return _CHOICES[executor](asked)


def _sysinfo(asked: argparse.Namespace) -> Chosen:
    return Chosen(code="sysinfo", source=Source("sysinfo"))


def _debug(asked: argparse.Namespace) -> Chosen:
    options = {"unit": "character", "history": "all", "delay": asked.delay}
    return Chosen(code="debug", source=Source("debug"), options=options)


def _dummy(asked: argparse.Namespace) -> Chosen:
    options = {"unit": "character", "text": DUMMY_TEXT, "delay": asked.delay}
    return Chosen(code="dummy", source=Source("dummy"), options=options)


def _chatgpt(asked: argparse.Namespace) -> Chosen:
    generation = read_generation(asked)
    timeout = generation.pop("timeout", None)
    third_party: bool = asked.use_third_party_api_key
    serving = {
        **_keyed(asked, NO_KEY_THIRD_PARTY if third_party else NO_KEY_OPENAI),
        "tokens": ("third_party_token" if third_party else "openai_token",),
        "own_key_wins": asked.no_override_api_key,
        "generation": generation,
        "input_tokens": asked.context_window,
    }
    return Chosen(
        code="chatgpt",
        source=Source("openai", check_url(asked.base_url, "--base_url"), asked.model),
        options={} if timeout is None else {"first_byte_timeout": timeout, "idle_timeout": timeout},
        key=_key_reference(asked),
        serving=serving,
        secrets=_key_secret(asked),
        notes=_image_notes(asked),
    )


def _geminipro(asked: argparse.Namespace) -> Chosen:
    return Chosen(
        code="gemini-pro",
        source=Source("gemini", asked.model),
        key=_key_reference(asked),
        serving={
            **_keyed(asked, NO_KEY_GOOGLE),
            "tokens": ("google_token",),
            "generation": read_generation(asked),
            "input_tokens": asked.limit,
        },
        secrets=_key_secret(asked),
        notes=(*_gone_notes(asked), *_image_notes(asked)),
    )


def _llamacpp(asked: argparse.Namespace) -> Chosen:
    if not asked.model_path:
        raise ServingError("no_model", "You need to configure a GGUF model path! Give it with --model_path FILE.gguf")
    path = Path(os.path.abspath(Path(asked.model_path).expanduser()))
    source = Source("llamacpp", str(path))
    if asked.model_path.startswith(_HUB):
        repository, _, file = asked.model_path.removeprefix(_HUB).partition("?")
        source = Source("hf", f"{repository}:{file}" if file else repository)
    options: dict[str, Any] = {"gpu_layers": asked.ngl}
    if asked.context_window is not None:
        options["context"] = asked.context_window
    if asked.override_chat_template:
        options["template"] = asked.override_chat_template
    notes: tuple[str, ...] = ()
    if asked.visible_gpu and not asked.ngl:
        notes = ("--visible_gpu without --ngl: as ever all layers stay on the CPU; --ngl -1 puts them on the GPU",)
    return Chosen(
        code="gguf",
        source=source,
        options=options,
        env=_visible(asked),
        serving={
            "system_prompt": _system_prompt(asked),
            "generation": read_generation(asked),
            "input_tokens": min(asked.limit, _room(path, asked.context_window)),
        },
        notes=notes,
    )


def _ollama(asked: argparse.Namespace) -> Chosen:
    generation = read_generation(asked)
    if "num_predict" in generation:
        generation.setdefault("max_tokens", generation.pop("num_predict"))
    unknown = sorted(generation.keys() - _ROUTE_OF_OLLAMA)
    notes = [f"a model that Ollama does not have is not fetched; `ollama pull {asked.model}` does it"]
    if unknown:
        notes.append(f"Ollama passes over these parameters on the route that is used here: {', '.join(unknown)}")
    if asked.context_window != 8192:
        notes.append("--context_window: Ollama takes it from OLLAMA_CONTEXT_LENGTH where it runs, not from requests")
    return Chosen(
        code="ollama",
        source=Source("openai", f"{_ollama_url(asked.ollama_host)}/v1", asked.model),
        serving={
            "system_prompt": _system_prompt(asked),
            "generation": generation,
            "input_tokens": asked.limit,
        },
        notes=tuple(notes),
    )


def _huggingface(asked: argparse.Namespace) -> Chosen:
    if not asked.model_path:
        raise ServingError("no_model", "You need to configure a model path! Give it with --model_path FOLDER_OR_NAME")
    folder = Path(asked.model_path).expanduser()
    local = folder.is_dir() or is_path(asked.model_path)
    options: dict[str, Any] = {}
    if asked.load_8bits:
        options["load_in_8bit"] = True
    if asked.trust_remote_code:
        options["trust_remote_code"] = True
    if asked.override_chat_template:
        options["template"] = asked.override_chat_template
    if options:
        # Other engines call these otherwise, or cannot do them.
        options["engine"] = "transformers"
    unused = {"tokenizer": None, "processor": None, "timeout": 10.0}
    unmapped = [f"--{name}" for name, default in unused.items() if getattr(asked, name) != default]
    return Chosen(
        code="huggingface",
        source=Source("folder", os.path.abspath(folder)) if local else Source("hf", asked.model_path),
        options=options,
        env=_visible(asked),
        serving={
            "system_prompt": _system_prompt(asked),
            "generation": {**_HUGGINGFACE_DEFAULTS, **read_generation(asked)},
            "input_tokens": min(asked.limit, _room_of_folder(folder)) if local else asked.limit,
        },
        notes=(f"no use is made of: {', '.join(unmapped)}",) if unmapped else (),
    )


def _keyed(asked: argparse.Namespace, missing_key: str) -> dict[str, Any]:
    """What the api needs to know of an upstream that nobody may ask without a key."""
    return {
        "needs_key": True,
        "missing_key": missing_key,
        "has_key": bool(asked.api_key),
        "system_prompt": _system_prompt(asked),
    }


def _key_reference(asked: argparse.Namespace) -> str:
    return f"env:{KEY_NAME}" if asked.api_key else ""


def _key_secret(asked: argparse.Namespace) -> dict[str, str]:
    return {KEY_NAME: asked.api_key} if asked.api_key else {}


def _image_notes(asked: argparse.Namespace) -> tuple[str, ...]:
    if not asked.multimodal:
        return ()
    return ("--multimodal: images are not sent yet; their addresses reach the model as text",)


def _gone_notes(asked: argparse.Namespace) -> tuple[str, ...]:
    if asked.model != _GONE_GEMINI:
        return ()
    return (f"Google has switched {asked.model} off; name one that it has with --model, such as gemini-2.5-flash",)


def _visible(asked: argparse.Namespace) -> dict[str, str]:
    return {} if asked.visible_gpu is None else {"CUDA_VISIBLE_DEVICES": asked.visible_gpu}


def _system_prompt(asked: argparse.Namespace) -> str:
    return "" if asked.no_system_prompt else asked.system_prompt or ""


def _room(path: Path, context: int | None) -> int:
    """Tokens of input for which the model has room; what is wrong with the file is the engine's to say."""
    try:
        made_for = read_head(path).context
    except (OSError, ServingError):
        made_for = DEFAULT_CONTEXT
    return max(1, int((context or min(made_for, DEFAULT_CONTEXT)) * _ROOM_FOR_INPUT))


def _room_of_folder(folder: Path) -> int:
    """Likewise; without a limit where the folder does not tell."""
    try:
        made_for = read_checkpoint(folder).context
    except (OSError, ServingError):
        made_for = 0
    return max(1, int(made_for * _ROOM_FOR_INPUT)) if made_for else sys.maxsize


def _ollama_url(host: str | None) -> str:
    """In Ollama's forms: HOST, HOST:PORT or a URL; the address of all interfaces is this machine's."""
    flag = "OLLAMA_HOST" if host is None else "--ollama_host"
    text = (os.environ.get("OLLAMA_HOST") if host is None else host) or "127.0.0.1:11434"
    url = text if "://" in text else f"http://{text}"
    check_url(url, flag)
    parts = urlsplit(url)
    name = "127.0.0.1" if parts.hostname == "0.0.0.0" else parts.hostname or ""
    shown = f"[{name}]" if ":" in name else name
    # A bare host means Ollama's own port; a URL means its scheme's.
    port = parts.port or (None if "://" in text else 11434)
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


_CHOICES: Final[dict[str, Callable[[argparse.Namespace], Chosen]]] = {
    "sysinfo": _sysinfo,
    "debug": _debug,
    "dummy": _dummy,
    "geminipro": _geminipro,
    "chatgpt": _chatgpt,
    "huggingface": _huggingface,
    "llamacpp": _llamacpp,
    "ollama": _ollama,
}
