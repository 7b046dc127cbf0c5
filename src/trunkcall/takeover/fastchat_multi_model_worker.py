"""`python -m fastchat.serve.multi_model_worker`: the worker that loads several models."""

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

    parser = new_worker_parser(
        "fastchat.serve.multi_model_worker",
        "Serves several models to FastChat controllers.",
        "--model-path, --model-names and --conv-template are repeated, in the same order.",
        limit=5,
    )
    parser.add_argument(
        "--model-path", action="append", help="a folder, a .gguf file, a hub name, or pocket; once for each model"
    )
    add_model_names(parser)
    add_loading_flags(parser)
    found = parser.parse_args(arguments)
    paths: list[str] = found.model_path or [DEFAULT_MODEL]
    names: list[list[str]] = found.model_names or [[] for _ in paths]
    templates: list[str] = found.conv_template or [""]
    if len(templates) == 1:
        templates *= len(paths)
    for flag, values in (("--model-names", names), ("--conv-template", templates)):
        if len(values) != len(paths):
            parser.error(f"{flag} is given {len(values)} times for {len(paths)} models; give it once for each")
    models = [
        loaded_as(found, path, names_of(names, path), template)
        for path, names, template in zip(paths, names, templates, strict=True)
    ]
    return serve("multi-model-worker", read_asked(found), models, gone_notes(found))
