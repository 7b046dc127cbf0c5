"""How to call Kuwa: a kernel that gives turns on its executors, or one executor at its endpoint."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from trunkcall.backends.kuwa_endpoint import KuwaEndpoint
from trunkcall.backends.kuwa_kernel import KuwaKernel
from trunkcall.backends.upstream import Seconds, UpstreamOptions
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, read_options

_URL: Final = re.compile(r"https?://[!-~]+")


class KuwaOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`; in seconds. patience: how long to ask again while all executors are busy.

    An executor sends the head of its answer before it has read the prompt, so the first piece counts as idle time.
    """

    idle_timeout: Seconds = 600.0
    patience: Seconds = 60.0


def connect(target: str, settings: ModelSettings, model: str) -> KuwaKernel | KuwaEndpoint:
    """`kuwa:http://host:9000#name` is an access code of a kernel, `kuwa:http://host:port/chat` one executor.

    Raises ServingError (bad_request) when the URL cannot be one, or for wrong options.
    """
    try:
        parts = urlsplit(target)
        if not _URL.fullmatch(target) or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("not a plain http URL")
    except ValueError as error:
        raise ServingError(
            "bad_request",
            f"{target!r} is not the URL of a Kuwa server; write `kuwa:http://HOST:9000#NAME` for a kernel or"
            " `kuwa:http://HOST:PORT/chat` for one executor",
            detail=repr(error),
        ) from None
    options = read_options(settings, KuwaOptions)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.removesuffix("/")
    if not path:
        return KuwaKernel(origin, model or settings.name, options.timeouts, options.patience)
    return KuwaEndpoint(origin, path, model, options.timeouts, options.patience)
