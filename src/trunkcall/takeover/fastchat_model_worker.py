"""`python -m fastchat.serve.model_worker`: the worker that loads one model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan


def read(arguments: Sequence[str]) -> Plan:
    """The worker as a server of ours; ends the process for --help and wrong use.

    Raises ServingError for a model, an address or a device that cannot work.
    """
    from trunkcall.takeover.fastchat_loading_flags import add_loading_flags, gone_notes, loaded_as
    from trunkcall.takeover.fastchat_worker_flags import (
        DEFAULT_MODEL,
        add_model_names,
        names_of,
        new_worker_parser,
        read_asked,
    )
    from trunkcall.takeover.fastchat_worker_serving import serve

    parser = new_worker_parser("fastchat.serve.model_worker", "Serves one model to FastChat controllers.", limit=5)
    parser.add_argument("--model-path", default=DEFAULT_MODEL, help="a folder, a .gguf file, a hub name, or pocket")
    add_model_names(parser)
    add_loading_flags(parser)
    found = parser.parse_args(arguments)
    names = names_of([name for names in found.model_names or () for name in names], found.model_path)
    model = loaded_as(found, found.model_path, names, (found.conv_template or [""])[-1])
    return serve("model-worker", read_asked(found), [model], gone_notes(found))
