"""How an executor of Kuwa is served: its general options become a listener, a model and a state directory."""

from __future__ import annotations

import re
import socket
from typing import Any, Final

from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings
from trunkcall.takeover.kuwa_kernel import our_level
from trunkcall.takeover.kuwa_models import Chosen
from trunkcall.takeover.plan import Plan
from trunkcall.takeover.urls import check_url
from trunkcall.workers.kuwa_options import General

_API: Final = "kuwa_executor"
_ANY: Final = ("0.0.0.0", "::")


def serve(general: General, chosen: Chosen, *, codes: tuple[str, ...] | None = None) -> Plan:
    """The plan of a server with one model that is asked through the executor's own API.

    codes: what to register as when --access_code says nothing; the executor's default when None.
    Raises ServingError (bad_request) for an empty access code and for a kernel's URL that cannot be one.
    """
    if general.access_code is not None:
        codes = tuple(dict.fromkeys(general.access_code))
    elif codes is None:
        codes = (chosen.code,)
    if not all(codes):
        raise ServingError("bad_request", "--access_code: a code is empty; give a name")
    known_as = codes[0] if codes else chosen.code
    host = general.host or _own_address()
    options: dict[str, Any] = {
        "codes": codes,
        "path": general.executor_path,
        "kernel": "" if general.ignore_kernel else check_url(general.kernel_url, "--kernel_url"),
        "interface": general.version,
        "endpoint": _endpoint(general, host),
        "limit": general.concurrent_req_limit,
        **{name: value for name, value in chosen.serving.items() if value},
    }
    name = _model_name(known_as)
    model = ModelSettings(
        name=name,
        sources=(chosen.source,),
        env=chosen.env,
        options=chosen.options,
        key=chosen.key,
        slots=general.concurrent_req_limit,
        preload=True,
    )
    settings = Settings(
        listen=(Listener(host, general.port or 0, (_API,), {_API: options}),),
        models={name: model},
        pocket=False,
        log_level=our_level(general.log),
    )
    return Plan(
        settings,
        f"kuwa-executor-{general.port or _file_name(known_as)}",
        shared=not general.port,
        secrets=chosen.secrets,
        notes=chosen.notes,
    )


def _endpoint(general: General, host: str) -> str:
    """What the kernel is told; port 0 stands for the listener's."""
    address = _own_address() if host in _ANY else host
    shown = f"[{address}]" if ":" in address else address
    return f"{'https' if general.https else 'http'}://{shown}:{general.port or 0}"


def _own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _model_name(code: str) -> str:
    """The code without what a model's name cannot have."""
    return "".join("_" if character.isspace() or not character.isprintable() else character for character in code)


def _file_name(code: str) -> str:
    return re.sub(r"[^\w.-]", "_", code)[:100]
