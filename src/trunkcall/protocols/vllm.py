"""What a vLLM server says and takes beside OpenAI's API: its load and sleep as Prometheus text, and adapters."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from trunkcall.core.ports import Told

METRICS: Final = "/metrics"
SLEEP: Final = "/sleep?level=1"
WAKE: Final = "/wake_up"
LOAD_ADAPTER: Final = "/v1/load_lora_adapter"
UNLOAD_ADAPTER: Final = "/v1/unload_lora_adapter"

_SAMPLE: Final = re.compile(
    rb"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc|engine_sleep_state)"
    rb"(?:\{(.*)\})? (\S+)",
    re.MULTILINE,
)
_AWAKE: Final = b'sleep_state="awake"'


class _Load(msgspec.Struct, frozen=True):
    lora_name: str
    lora_path: str


class _Unload(msgspec.Struct, frozen=True):
    lora_name: str


def read_metrics(text: bytes) -> Told | None:
    """Load and sleep, summed over the engines of one server; None for the metrics of something else."""
    running = waiting = full = 0.0
    asleep = found = False
    for name, labels, said in _SAMPLE.findall(text):
        try:
            value = float(said)
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        found = True
        if name == b"num_requests_running":
            running += value
        elif name == b"num_requests_waiting":
            waiting += value
        elif name == b"engine_sleep_state":
            # Calls that a sleeping engine gets hang, also when its neighbours are awake.
            asleep = asleep or (_AWAKE in labels and not value)
        else:
            full = max(full, value)
    return Told(asleep, round(running), round(waiting), full) if found else None


def emit_load(name: str, path: str) -> bytes:
    """The body of LOAD_ADAPTER."""
    return msgspec.json.encode(_Load(name, path))


def emit_unload(name: str) -> bytes:
    """The body of UNLOAD_ADAPTER."""
    return msgspec.json.encode(_Unload(name))
