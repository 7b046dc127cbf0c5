"""The flags of TGI's launcher, of all its ages: a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec

from trunkcall.protocols.tgi import Compat

KEY_VARIABLE: Final = "API_KEY"
COMPAT_VARIABLE: Final = "TRUNKCALL_TGI_COMPAT"
"""The edition to be, where the command line cannot be changed."""

_BATCHES: Final = "a request joins those that run at their next step, whatever waits"
_SHARDS: Final = "the engine's processes find each other by themselves"
_SPANS: Final = "no spans are sent; /metrics has the durations"
_WATERMARK: Final = "answers are not watermarked"
_TUNNEL: Final = "no tunnel is opened; `ngrok http PORT` beside the server opens one"
GONE: Final = {
    "validation_workers": "requests are checked where they arrive",
    "speculate": "it changes the speed alone; vLLM takes --speculative-config among a model's `args`",
    "waiting_served_ratio": _BATCHES,
    "max_waiting_tokens": _BATCHES,
    "max_batch_total_tokens": "the engine finds out what fits in memory",
    "prometheus_port": "/metrics is on the listener's own port",
    "shard_uds_path": _SHARDS,
    "master_addr": _SHARDS,
    "master_port": _SHARDS,
    "weights_cache_override": "name the folder that holds the weights with --model-id",
    "disable_custom_kernels": "the engine chooses its kernels by the machine",
    "otlp_endpoint": _SPANS,
    "otlp_service_name": _SPANS,
    "watermark_gamma": _WATERMARK,
    "watermark_delta": _WATERMARK,
    "ngrok": _TUNNEL,
    "ngrok_authtoken": _TUNNEL,
    "ngrok_edge": _TUNNEL,
    "usage_stats": "nothing is told to anybody",
}
"""Flags that have no meaning here, and why."""
_SWITCHES_GONE: Final = frozenset({"disable_custom_kernels", "ngrok"})

LIMITS: Final = (
    "max_input_tokens",
    "max_total_tokens",
    "max_stop_sequences",
    "max_best_of",
    "max_top_n_tokens",
    "max_client_batch_size",
    "max_concurrent_requests",
)
"""Flags that are limits of the listener under the same names; the limit on a body's bytes has another there."""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A flag of the launcher.

    name: with `_`; in capitals it is the variable that is read where the flag is not given; read: makes its value of
    text, or raises argparse.ArgumentTypeError; short: another name; switch: it takes no value on the command line;
    many: it may be repeated; shown: what stands for the value in the help; default: as the help tells it.
    """

    name: str
    about: str
    read: Callable[[str], Any] = str
    shown: str = "…"
    default: str = ""
    short: str = ""
    switch: bool = False
    many: bool = False
    variable: str = ""

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def environ(self) -> str:
        """The variable's name."""
        return self.variable or self.name.upper()


def _number(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if not least <= number <= most:
            upper = f" to {most}" if most < 2**63 - 1 else " or more"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least}{upper}")
        return number

    return read


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _share(text: str) -> float:
    number = _above_zero(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 1.0, which is all of the memory")
    return number


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _one_of(*words: str) -> dict[str, Any]:
    """What a flag with few values has of its own."""

    def read(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(words)}")
        return text

    return {"read": read, "shown": f"{{{','.join(words)}}}"}


_COUNT: Final = _number(1)
_COUNT_OR_NONE: Final = _number(0)
_TOKENS: Final = "the model's own, up to 4096; TGI 0.8 had 1512, 0.9 to 1.4 had 2048"
_INPUT: Final = "one less than --max-total-tokens; TGI 0.8 had 1000, 0.9 to 1.4 had 1024"

LISTENER: Final = (
    Flag(name="hostname", about="address to listen on", shown="HOST", default="0.0.0.0"),
    Flag(name="port", about="port to listen on", read=_number(0, 65535), shown="PORT", default="3000", short="-p"),
    Flag(name="api_key", about="the key that callers must send", shown="KEY"),
    Flag(name="cors_allow_origin", about="an origin whose pages may call", shown="ORIGIN", default="all", many=True),
    Flag(name="json_output", about="log in JSON, a line each", read=_boolean, switch=True),
    Flag(
        name="graceful_termination_timeout",
        about="seconds that running answers have at the end",
        read=_COUNT_OR_NONE,
        shown="SECONDS",
        default="90",
    ),
    Flag(
        name="compat",
        about="the edition of TGI whose defaults hold",
        **_one_of(*get_args(Compat)),
        default="3",
        variable=COMPAT_VARIABLE,
    ),
)
LIMITING: Final = (
    Flag(
        name="max_concurrent_requests",
        about="requests at a time; others are refused at once",
        read=_COUNT,
        shown="N",
        default="128",
    ),
    Flag(name="max_best_of", about="answers to choose one from", read=_COUNT, shown="N", default="2"),
    Flag(name="max_stop_sequences", about="stop sequences of a request", read=_COUNT, shown="N", default="4"),
    Flag(name="max_top_n_tokens", about="likeliest tokens to tell", read=_COUNT_OR_NONE, shown="N", default="5"),
    Flag(name="max_input_tokens", about="tokens of a prompt", read=_COUNT, shown="N", default=_INPUT),
    Flag(name="max_input_length", about="the older name of --max-input-tokens", read=_COUNT, shown="N"),
    Flag(name="max_total_tokens", about="tokens of prompt and answer", read=_COUNT, shown="N", default=_TOKENS),
    Flag(name="max_client_batch_size", about="prompts of one completion request", read=_COUNT, shown="N", default="4"),
    Flag(name="payload_limit", about="bytes of a request's body", read=_COUNT, shown="BYTES", default="2000000"),
    Flag(name="disable_grammar_support", about="refuse grammars", read=_boolean, switch=True),
    Flag(name="enable_prefill_logprobs", about="tell of the prompt's tokens too", read=_boolean, switch=True),
)
ENGINE: Final = (
    Flag(
        name="model_id",
        about="a name on the Hub, a folder, a .gguf file, or pocket",
        shown="MODEL",
        default="bigscience/bloom-560m",
    ),
    Flag(name="revision", about="branch, tag or commit on the Hub", shown="REVISION"),
    Flag(
        name="sharded",
        about="spread the model over GPUs",
        read=_boolean,
        shown="{true,false}",
        default="where there are several",
    ),
    Flag(name="num_shard", about="over so many", read=_COUNT, shown="N", default="all"),
    Flag(
        name="quantize",
        about="how the weights are packed",
        **_one_of(
            *("awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "fp8"),
            *("bitsandbytes", "bitsandbytes-nf4", "bitsandbytes-fp4"),
        ),
    ),
    Flag(name="dtype", about="of calculation", **_one_of("float16", "bfloat16")),
    Flag(name="kv_cache_dtype", about="of keys and values", **_one_of("fp8_e4m3fn", "fp8_e5m2")),
    Flag(name="trust_remote_code", about="run code that comes with the model", read=_boolean, switch=True),
    Flag(name="max_batch_prefill_tokens", about="prompt tokens in one step", read=_COUNT, shown="N"),
    Flag(name="max_batch_size", about="requests that the engine works on at once", read=_COUNT, shown="N"),
    Flag(name="cuda_memory_fraction", about="of each GPU's memory", read=_share, shown="SHARE", default="1.0"),
    Flag(name="cuda_graphs", about="0 for none; the engine chooses their sizes", shown="N,N"),
    Flag(name="rope_scaling", about="how positions beyond the model's are reached", **_one_of("linear", "dynamic")),
    Flag(name="rope_factor", about="how far beyond", read=_above_zero, shown="FACTOR"),
    Flag(name="tokenizer_config_path", about="a file whose chat template replaces the model's", shown="FILE"),
    Flag(name="lora_adapters", about="adapters that requests may ask for", shown="[NAME=]ADAPTER,…"),
    Flag(name="huggingface_hub_cache", about="where downloads are kept", shown="DIR"),
)
GONE_FLAGS: Final = tuple(
    Flag(name=name, about=why, switch=True, read=_boolean) if name in _SWITCHES_GONE else Flag(name=name, about=why)
    for name, why in GONE.items()
)
FLAGS: Final = (*LISTENER, *LIMITING, *ENGINE, *GONE_FLAGS)
"""All of the launcher's, and `--compat`, which is ours."""
