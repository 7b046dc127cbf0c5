"""The flags of vLLM's OpenAI server, of all its ages: the same today, renamed, or gone."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from trunkcall.config_file import LogLevel
from trunkcall.core.errors import ServingError

GONE: Final = {
    "swap_space": "its replacement in vLLM is to recompute a request that was pushed out",
    "use_np_weights": "it is `--load-format npcache` now",
    "use_dummy_weights": "it is `--load-format dummy` now",
    "worker_use_ray": "it is `--distributed-executor-backend ray` now",
    "engine_use_ray": "nothing replaces it; the engine has a process of its own",
    "disable_log_requests": "requests are never written to the log here; `trunkcall usage` counts them",
}
"""Flags that nobody needs any more, and what stands in their place."""
_BECOMES: Final[dict[str, tuple[str, Any]]] = {
    "use_np_weights": ("load_format", "npcache"),
    "use_dummy_weights": ("load_format", "dummy"),
    "worker_use_ray": ("distributed_executor_backend", "ray"),
}
_REFUSED: Final = {
    "uds": "listen on --host and --port",
    "root_path": "let the proxy in front take the prefix off",
}
"""Flags of the listener that would do harm if they were passed over."""
_LISTENER: Final = frozenset(
    "host port api_key served_model_name allow_credentials allowed_origins allowed_methods allowed_headers "
    "uvicorn_log_level ssl_certfile ssl_keyfile model revision".split()
)
_NARROWING: Final = ("allow_credentials", "allowed_methods", "allowed_headers")
_ALL: Final = ("*",)
_LEVELS: Final[dict[str, LogLevel]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
}


class _Adapter(msgspec.Struct):
    name: str
    path: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A command line of vLLM, read.

    model: as it was written; names: under which it is served, the first is the one that answers carry;
    keys: secrets, any of which opens the server; origins: of browsers; words: the rest in vLLM's own words, of
    vllm_words; extra: flags that are not known here, as written; gone: names of flags in GONE; narrowed: flags
    about browsers that are wider here; certificate and private_key: paths of PEM files, empty without TLS.
    """

    model: str
    names: tuple[str, ...]
    host: str = "0.0.0.0"
    port: int = 8000
    revision: str = ""
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ("*",)
    log_level: LogLevel = "info"
    words: dict[str, Any] = {}
    extra: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    certificate: str = ""
    private_key: str = ""

    # Secrets.
    def __repr__(self) -> str:
        return f"Asked({self.model!r}, {self.host}:{self.port})"


def read_flags(prog: str, arguments: Sequence[str]) -> Asked:
    """Read what stands behind the old command; ends the process for --help and wrong use.

    Flags may be written with `_` for `-`, as in vLLM. Raises ServingError (unsupported) for flags that no
    server of ours can keep.
    """
    parser = _parser(prog)
    found, unknown = parser.parse_known_args([_spelled(word) for word in arguments])
    given: dict[str, Any] = vars(found)
    extra = list(unknown)
    for name, remedy in _REFUSED.items():
        if name in given:
            raise ServingError("unsupported", f"{_flag(name)} cannot be kept here; {remedy}", param=name)
    model: str = given.get("model") or _take_model(extra)
    if not model:
        parser.error("which model? Give a folder, a .gguf file, a name on the hub, or pocket, with --model")
    gone = tuple(name for name in GONE if name in given)
    words = {name: value for name, value in given.items() if name not in _LISTENER and name not in GONE}
    words |= dict(_BECOMES[name] for name in gone if name in _BECOMES)
    if "lora_modules" in words:
        words["lora_modules"] = dict(words["lora_modules"])
    if words.get("tokenizer_mode") == "slow":
        # Tokenizers in Python have gone from vLLM.
        words["tokenizer_mode"] = "auto"
    return Asked(
        model=model,
        names=tuple(dict.fromkeys(given.get("served_model_name") or [_name(model)])),
        host=given.get("host", "0.0.0.0"),
        port=given.get("port", 8000),
        revision=given.get("revision", ""),
        keys=tuple(given.get("api_key", ())),
        origins=given.get("allowed_origins", _ALL),
        log_level=_LEVELS[given.get("uvicorn_log_level", "info")],
        words=words,
        extra=tuple(extra),
        gone=gone,
        narrowed=tuple(_flag(name) for name in _NARROWING if given.get(name, _ALL) != _ALL),
        certificate=given.get("ssl_certfile", ""),
        private_key=given.get("ssl_keyfile", ""),
    )


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [MODEL] [--model MODEL] [--host HOST] [--port PORT] [flags of vLLM]",
        description="Serves one model as vLLM's OpenAI server does: by vLLM, or by what there is.",
        epilog="Other flags go to vLLM as they are.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    listener = parser.add_argument_group("listener")
    listener.add_argument("--host", help="address to listen on (default: 0.0.0.0)")
    listener.add_argument("--port", type=_port, help="port to listen on (default: 8000)")
    listener.add_argument("--api-key", nargs="+", metavar="KEY", help="keys of which callers must send one")
    listener.add_argument(
        "--allowed-origins", type=_words, metavar="JSON", help="origins whose pages may call (default: all)"
    )
    listener.add_argument("--allowed-methods", type=_words, metavar="JSON", help="accepted; a path tells its own")
    listener.add_argument("--allowed-headers", type=_words, metavar="JSON", help="accepted; all are allowed")
    listener.add_argument("--allow-credentials", action="store_true", help="accepted; cookies are not used here")
    for name, what in (("certfile", "certificate"), ("keyfile", "private key")):
        listener.add_argument(f"--ssl-{name}", type=os.path.abspath, metavar="PEM", help=f"{what}, to speak TLS")
    listener.add_argument("--uvicorn-log-level", choices=tuple(_LEVELS), help="how much is logged")
    model = parser.add_argument_group("model")
    model.add_argument("--model", help="a folder, a .gguf file, a name on the hub, or pocket")
    model.add_argument("--served-model-name", nargs="+", metavar="NAME", help="names of the model (default: --model)")
    model.add_argument("--revision", help="branch, tag or commit on the hub")
    model.add_argument("--tokenizer", help="another tokenizer than the model's")
    model.add_argument("--tokenizer-revision", help="branch, tag or commit of the tokenizer")
    model.add_argument("--tokenizer-mode", help="auto; slow is gone")
    model.add_argument("--chat-template", help="a Jinja template or its file")
    model.add_argument("--download-dir", metavar="DIR", help="where downloads are kept")
    model.add_argument("--load-format", help="auto, npcache, dummy, ...")
    model.add_argument("--dtype", help="auto, half, float16, bfloat16, float, float32")
    model.add_argument("--quantization", "-q", help="how the weights are packed")
    model.add_argument("--max-model-len", type=int, metavar="TOKENS", help="of prompt and answer together")
    model.add_argument("--seed", type=int, help="makes sampling repeatable")
    model.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    model.add_argument(
        "--lora-modules", type=_adapter, nargs="+", metavar="NAME=PATH", help="adapters, each a model of its own"
    )
    engine = parser.add_argument_group("engine")
    engine.add_argument("--tensor-parallel-size", "-tp", type=int, metavar="GPUS", help="GPUs to spread layers over")
    engine.add_argument("--pipeline-parallel-size", "-pp", type=int, metavar="GPUS", help="GPUs in a row")
    engine.add_argument("--distributed-executor-backend", help="ray or mp")
    engine.add_argument("--block-size", type=int, metavar="TOKENS", help="of a block of the cache")
    engine.add_argument("--gpu-memory-utilization", type=float, metavar="SHARE", help="of each GPU's memory")
    engine.add_argument("--max-num-batched-tokens", type=int, metavar="TOKENS", help="in one step")
    engine.add_argument("--max-num-seqs", type=int, metavar="REQUESTS", help="answered at once")
    engine.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs")
    engine.add_argument("--disable-log-stats", action="store_true", help="vLLM writes no figures to the log")
    gone = parser.add_argument_group("gone")
    gone.add_argument("--swap-space", type=float, metavar="GIB", help=GONE["swap_space"])
    for name in sorted(GONE.keys() - {"swap_space"}):
        gone.add_argument(_flag(name), action="store_true", help=GONE[name])
    for name in _REFUSED:
        parser.add_argument(_flag(name), nargs="*", help=argparse.SUPPRESS)
    return parser


def _spelled(word: str) -> str:
    """A flag with dashes only; its value stays."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"


def _take_model(extra: list[str]) -> str:
    """The model where it has no flag before it; a word behind a flag that is not known is that flag's value."""
    for at, word in enumerate(extra):
        before = extra[at - 1] if at else ""
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            return extra.pop(at)
    return ""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name(model: str) -> str:
    """The model as it was written, without what a name cannot have."""
    return re.sub(r"[\s\x00-\x1f]", "_", model)


def _adapter(text: str) -> tuple[str, str]:
    """NAME=PATH, or vLLM's JSON object."""
    name, equals, path = text.partition("=")
    if text.startswith("{"):
        try:
            told = msgspec.json.decode(text, type=_Adapter)
        except msgspec.DecodeError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not an adapter: {error}") from None
        return told.name, told.path
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return number


def _words(text: str) -> tuple[str, ...]:
    try:
        value: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = None
    words = cast(list[Any], value) if isinstance(value, list) else []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON list, such as '[\"*\"]'")
    return tuple(cast(list[str], words))
