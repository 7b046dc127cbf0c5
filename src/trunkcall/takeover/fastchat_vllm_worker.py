"""`python -m fastchat.serve.vllm_worker`: the worker that lets vLLM serve its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan


def read(arguments: Sequence[str]) -> Plan:
    """The worker as a server of ours; ends the process for --help and wrong use.

    Raises ServingError for a model or an address that cannot work.
    """
    from trunkcall.takeover.fastchat_worker_flags import (
        DEFAULT_MODEL,
        add_model_names,
        names_of,
        new_worker_parser,
        read_asked,
    )
    from trunkcall.takeover.fastchat_worker_serving import Loaded, serve
    from trunkcall.takeover.vllm_flags import read_flags

    prog = "fastchat.serve.vllm_worker"
    parser = new_worker_parser(
        prog, "Serves one model to FastChat controllers by vLLM, or by what there is.", "Other flags go to vLLM."
    )
    parser.add_argument(
        "--model-path", "--model", default=DEFAULT_MODEL, help="a folder, a name on the hub, or another source"
    )
    add_model_names(parser)
    parser.add_argument("--num-gpus", type=int, metavar="N", help="GPUs to spread each layer over")
    # vLLM's own flags may be written with `_`, and begin with others' names.
    found, rest = parser.parse_known_args([_spelled(word) for word in arguments])
    asked = read_flags(prog, [f"--model={found.model_path}", *rest])
    words = dict(asked.words)
    if found.num_gpus is not None and found.num_gpus > 1:
        words["tensor_parallel_size"] = found.num_gpus
    names = [name for names in found.model_names or () for name in names]
    model = Loaded(
        path=found.model_path,
        names=names_of(names, found.model_path),
        template=(found.conv_template or [""])[-1],
        revision=asked.revision,
        words=words,
        flags={word: f"--{word.replace('_', '-')}" for word in words},
        extra=asked.extra,
    )
    return serve("vllm-worker", read_asked(found), [model])


def _spelled(word: str) -> str:
    """A flag with dashes only; its value stays."""
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word
