"""What a vLLM tells of itself as Prometheus text, and the orders it takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trunkcall.core.ports import Told
from trunkcall.protocols.vllm import emit_load, emit_unload, read_metrics

TEXT = """\
# HELP python_gc_objects_collected_total Objects collected during gc
python_gc_objects_collected_total{generation="0"} 9651.0
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 7.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} 0.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="discard_all"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:generation_tokens_created{engine="0",model_name="m"} 1.79e+09
"""
SECOND = TEXT.replace('engine="0"', 'engine="1"').replace(" 0.25", " 0.75")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT, Told(False, 3, 2, 0.25)),
        (TEXT + SECOND, Told(False, 6, 4, 0.75)),
        (TEXT.replace('awake"} 1.0', 'awake"} 0.0'), Told(True, 3, 2, 0.25)),
        (TEXT + SECOND.replace('awake"} 1.0', 'awake"} 0.0'), Told(True, 6, 4, 0.75)),
        ('vllm:num_requests_running{model_name="a} 9"} 1.0', Told(False, 1)),
        ("vllm:gpu_cache_usage_perc 0.5", Told(full=0.5)),
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting many", None),
        ("llamacpp:requests_processing 1\n", None),
        ("<html>vllm:num_requests_running</html>", None),
        ("", None),
    ],
)
def test_metrics(text: str, told: Told | None) -> None:
    assert read_metrics(text.encode()) == told


@given(
    some.binary(), some.sampled_from(["vllm:num_requests_running ", 'vllm:engine_sleep_state{sleep_state="awake"} '])
)
def test_what_anybody_may_answer(data: bytes, name: str) -> None:
    found = read_metrics(name.encode() + data)
    assert found is None or found.running >= 0 or data.lstrip().startswith(b"-")


def test_orders() -> None:
    assert json.loads(emit_load("a", "/b")) == {"lora_name": "a", "lora_path": "/b"}
    assert json.loads(emit_unload("a")) == {"lora_name": "a"}
