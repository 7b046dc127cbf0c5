"""`python -m fastchat.serve.sglang_worker`: the worker that lets SGLang serve its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan


def read(arguments: Sequence[str]) -> Plan:
    """The worker as a server of ours; ends the process for --help and wrong use.

    Raises ServingError for a model or an address that cannot work.
    """
    from trunkcall.engines.installed import installed
    from trunkcall.engines.sglang import ENGINE
    from trunkcall.takeover.fastchat_worker_flags import (
        DEFAULT_MODEL,
        add_model_names,
        names_of,
        new_worker_parser,
        read_asked,
    )
    from trunkcall.takeover.fastchat_worker_serving import Loaded, serve

    parser = new_worker_parser(
        "fastchat.serve.sglang_worker",
        "Serves one model to FastChat controllers by SGLang, or by what there is.",
        "Other flags go to SGLang.",
    )
    parser.add_argument("--model-path", "--model", default=DEFAULT_MODEL, help="a folder, or a name on the hub")
    add_model_names(parser)
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="GPUs to spread each layer over")
    parser.add_argument("--mem-fraction-static", type=float, metavar="SHARE", help="of each GPU's memory")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--multimodal", action="store_true", help="tell controllers that images may be sent")
    found, rest = parser.parse_known_args(arguments)
    own: dict[str, Any] = {
        "tensor_parallel": found.num_gpus if found.num_gpus > 1 else None,
        "memory_share": found.mem_fraction_static,
        "trust_remote_code": found.trust_remote_code or None,
    }
    own = {option: value for option, value in own.items() if value is not None}
    names = [name for names in found.model_names or () for name in names]
    model = Loaded(
        path=found.model_path,
        names=names_of(names, found.model_path),
        template=(found.conv_template or [""])[-1],
        own={ENGINE: own},
        instead=ENGINE if ENGINE in installed() else "",
        flags={option: f"--{option.replace('_', '-')}" for option in own},
        extra=tuple(rest),
        extra_of=ENGINE,
    )
    return serve("sglang-worker", read_asked(found), [model])
