"""The flags with which FastChat's model workers say how a model is loaded, in the words of our engines."""

from __future__ import annotations

import argparse
import re
from typing import Any, Final

from trunkcall.core.errors import ServingError
from trunkcall.takeover.fastchat_worker_serving import Loaded

_PACKED: Final = "a checkpoint says in its config.json how it is packed; --model-path FOLDER is enough"
_XFT: Final = "on a CPU llama.cpp serves the model as a .gguf file: --model-path FILE.gguf"
GONE: Final = {
    "gptq_ckpt": _PACKED,
    "gptq_wbits": _PACKED,
    "gptq_groupsize": _PACKED,
    "gptq_act_order": _PACKED,
    "awq_ckpt": _PACKED,
    "awq_wbits": _PACKED,
    "awq_groupsize": _PACKED,
    "enable_exllama": "vLLM reads GPTQ checkpoints with kernels of its own",
    "exllama_max_seq_len": "a model's own context is used",
    "exllama_gpu_split": "--num-gpus spreads a model evenly",
    "exllama_cache_8bit": "vLLM has --kv-cache-dtype, as fastchat.serve.vllm_worker takes it",
    "enable_xft": _XFT,
    "xft_max_seq_len": _XFT,
    "xft_dtype": _XFT,
}
"""Flags that nothing here stands for, and what is there in their place."""
_SWITCHES: Final = frozenset({"gptq_act_order", "enable_exllama", "exllama_cache_8bit", "enable_xft"})
_DEVICES: Final = ("cuda", "cpu", "mps", "xpu", "npu")
_ELSEWHERE: Final = frozenset({"xpu", "npu"})
_TRANSFORMERS: Final = "transformers"
_LLAMACPP: Final = "llamacpp"
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def add_loading_flags(parser: argparse.ArgumentParser) -> None:
    """The group "model"; --model-path and --model-names are left to the program."""
    group = parser.add_argument_group("model")
    group.add_argument("--revision", default="main", help="branch, tag or commit on the hub")
    group.add_argument("--device", choices=_DEVICES, help="where it runs (default: a GPU where there is one)")
    group.add_argument("--gpus", metavar="0,1", help="GPUs that it may see")
    group.add_argument("--num-gpus", type=int, default=1, metavar="N", help="GPUs to spread it over")
    group.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="of calculation")
    group.add_argument("--load-8bit", action="store_true", help="hold the weights in 8 bits")
    group.add_argument(
        "--max-gpu-memory", type=_bytes, metavar="13Gib", help="of each GPU; what it has no room for stays in memory"
    )
    group.add_argument("--cpu-offloading", action="store_true", help="layers that no GPU has room for stay in memory")
    group.add_argument(
        "--embed-in-truncate", action="store_true", help="cut texts that are too long to embed; else they are refused"
    )
    group.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    group.add_argument("--seed", type=int, help="of calls that bring none")
    group.add_argument("--debug", action="store_true", help="log more")
    gone = parser.add_argument_group("gone")
    for name, instead in GONE.items():
        if name in _SWITCHES:
            gone.add_argument(_flag(name), action="store_true", help=instead)
        else:
            gone.add_argument(_flag(name), metavar="…", help=instead)


def gone_notes(found: argparse.Namespace) -> list[str]:
    """What to say of each flag in GONE that was given, once for those that one thing replaced."""
    replaced: dict[str, list[str]] = {}
    for name, instead in GONE.items():
        if getattr(found, name):
            replaced.setdefault(instead, []).append(_flag(name))
    verb = {False: "is", True: "are"}
    return [f"{', '.join(flags)} {verb[len(flags) > 1]} gone: {instead}" for instead, flags in replaced.items()]


def loaded_as(found: argparse.Namespace, path: str, names: tuple[str, ...], template: str) -> Loaded:
    """A model as the parsed flags have it.

    Raises ServingError: bad_request for more GPUs than are named, unsupported for a device that no engine here uses.
    """
    named_gpus = [gpu for gpu in (found.gpus or "").split(",") if gpu.strip()]
    if found.num_gpus < 1 or (named_gpus and found.num_gpus > len(named_gpus)):
        raise ServingError(
            "bad_request",
            f"--num-gpus: {found.num_gpus} GPUs cannot be had of --gpus {found.gpus or 'none'}; name as many there",
        )
    if found.device in _ELSEWHERE:
        raise ServingError(
            "unsupported",
            f"--device {found.device}: no engine here runs on one. Start a server that does, such as vLLM's build for "
            "it, and name it: --model-path openai:http://HOST:PORT/v1#MODEL",
        )
    own: dict[str, Any] = {"embeddings": True}
    words: dict[str, Any] = {"dtype": found.dtype, "tensor_parallel_size": found.num_gpus}
    words["trust_remote_code"] = found.trust_remote_code
    flags = {"dtype": f"--dtype {found.dtype}"} if found.dtype else {}
    if found.trust_remote_code:
        flags["trust_remote_code"] = "--trust-remote-code"
    if found.device and found.num_gpus == 1:
        own["device"] = found.device
        flags["device"] = f"--device {found.device}"
    if found.num_gpus > 1 or found.cpu_offloading:
        own["device_map"] = "auto"
    if found.cpu_offloading:
        flags["device_map"] = "--cpu-offloading"
    if found.max_gpu_memory is not None:
        own["max_memory"] = found.max_gpu_memory
        flags["max_memory"] = f"--max-gpu-memory {found.max_gpu_memory}"
    if found.load_8bit:
        own["load_in_8bit"] = True
        flags["load_in_8bit"] = "--load-8bit"
    return Loaded(
        path=path,
        names=names,
        template=template,
        revision=found.revision,
        words=words,
        own={_TRANSFORMERS: own, _LLAMACPP: {"embeddings": True}},
        instead=_TRANSFORMERS if found.load_8bit or found.cpu_offloading or found.device in ("cpu", "mps") else "",
        flags=flags,
        gpu_bytes=found.max_gpu_memory,
        truncates=found.embed_in_truncate,
        env={"CUDA_VISIBLE_DEVICES": ",".join(named_gpus)} if named_gpus else {},
    )


def _bytes(text: str) -> int:
    """A size as accelerate reads it, `13GiB` or `13GB`, in any mixture of cases."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()]) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size of memory; write it like 13GiB")
    return size


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
