"""`text-generation-launcher`: the command that starts a TGI server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan


def read(arguments: Sequence[str]) -> Plan:
    """The server with its one model; ends the process for --help, --env and wrong use.

    Raises ServingError for a model, limits or a number of GPUs that cannot be served.
    """
    from trunkcall.takeover.tgi_asked import read_asked

    asked = read_asked(arguments, os.environ)
    if asked.environment:
        from trunkcall.takeover.tgi_environment import environment

        print(environment(os.environ), end="")
        raise SystemExit(0)
    from trunkcall.takeover.tgi_serving import serve

    return serve(asked, os.environ)
