"""Who may call: API keys by the SHA-256 of their secret; open while there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Api, Exchange

_OPEN_APIS: Final = frozenset({"landing"})
"""Health checks and the landing page tell nothing that needs a key."""


class Access:
    """Checks a caller's key; names and digests only, the secrets are not kept.

    secrets: key name -> secret. With none, any credential is accepted and ignored, because
    old clients send dummies; the listeners are then bound to loopback only.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {hashlib.sha256(secret.encode()).digest(): name for name, secret in secrets.items()}

    def check(self, exchange: Exchange, api: Api) -> None:
        """Set exchange.principal to the key's name.

        Raises ServingError (unauthenticated).
        """
        if not self._names or api.name in _OPEN_APIS:
            return
        secret = _secret(exchange)
        name = self._names.get(hashlib.sha256(secret).digest()) if secret else None
        if name is None:
            raise ServingError(
                "unauthenticated",
                "this server needs an API key: send it as `Authorization: Bearer KEY`"
                if not secret
                else "the API key is not known to this server",
            )
        exchange.principal = name


def _secret(exchange: Exchange) -> bytes:
    value = exchange.header(b"authorization")
    if value is not None and value[:7].lower() == b"bearer ":
        return value[7:].strip()
    return exchange.header(b"x-api-key") or exchange.header(b"api-key") or b""
