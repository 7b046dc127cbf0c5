"""`python -m fastchat.serve.gradio_web_server_multi`: FastChat's pages with the arena, of all its ages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan

NAME: Final = "fastchat.serve.gradio_web_server_multi"


def read(arguments: Sequence[str]) -> Plan:
    """The server; ends the process for --help and wrong use.

    Raises ServingError for a file of endpoints or of users, or a folder of logs, that cannot be used.
    """
    from trunkcall.takeover.fastchat_web_flags import add_arena, new_parser
    from trunkcall.takeover.fastchat_web_serving import serve

    parser = new_parser(NAME)
    add_arena(parser)
    return serve(parser.parse_args(arguments), arena=True)
