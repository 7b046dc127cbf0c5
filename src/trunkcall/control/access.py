"""Who may call: API keys by the SHA-256 of their secret, open while there are none; and from which networks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Api, Exchange

_OPEN_APIS: Final = frozenset({"landing", "vllm"})
"""Health checks and the landing page tell nothing that needs a key."""


@runtime_checkable
class PartlyOpen(Protocol):
    """An api with paths that need no key, because the operator said so; `GET /path` is one for that method only."""

    open_paths: frozenset[str]


class Access:
    """Checks a caller's key; names and digests only, the secrets are not kept.

    secrets: key name -> secret. With none, any credential is accepted and ignored, because
    old clients send dummies; the listeners are then bound to loopback only.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {hashlib.sha256(secret.encode()).digest(): name for name, secret in secrets.items()}

    def check(self, exchange: Exchange, api: Api) -> None:
        """Set exchange.principal to the key's name; an api may have paths that need no key.

        Raises ServingError (unauthenticated).
        """
        if not self._names or api.name in _OPEN_APIS:
            return
        secret = _secret(exchange)
        name = self._names.get(hashlib.sha256(secret).digest()) if secret else None
        if name is None:
            if isinstance(api, PartlyOpen) and _is_open(exchange, api.open_paths):
                return
            raise ServingError(
                "unauthenticated",
                "this server needs an API key: send it as `Authorization: Bearer KEY`"
                if not secret
                else "the API key is not known to this server",
            )
        exchange.principal = name


class Networks:
    """Addresses that something is open to; empty is nobody, as is what is no IP address.

    Raises ValueError for words that are no network.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(word, strict=False) for word in words]

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


def allow_calls(networks: Sequence[str]) -> Callable[[Exchange], None]:
    """A guard that lets callers from these networks and loopback pass; empty is everybody."""
    allowed = Networks((*LOOPBACK, *networks))

    def check(exchange: Exchange) -> None:
        if networks and exchange.client not in allowed:
            raise ServingError("forbidden", f"this listener is not open to {exchange.client} (allow_from)")

    return check


def allow_workers(networks: Sequence[str]) -> Callable[[Exchange], None]:
    """A guard that lets workers of these networks and loopback register; a caller with a key may too."""
    allowed = Networks((*LOOPBACK, *networks))

    def check(exchange: Exchange) -> None:
        if not exchange.principal and exchange.client not in allowed:
            raise ServingError(
                "forbidden",
                f"workers at {exchange.client} may not register here: whoever registers gets prompts. "
                "Add its network to the listener's workers_from",
            )

    return check


def _is_open(exchange: Exchange, paths: frozenset[str]) -> bool:
    return exchange.path in paths or f"{exchange.method} {exchange.path}" in paths


def _secret(exchange: Exchange) -> bytes:
    """The key that a caller shows: a bearer's, the password of HTTP basic, what its SDK calls an API key, or what
    follows any other word, as h2oGPT sends `USER KEY`.
    """
    scheme, _, value = (exchange.header(b"authorization") or b"").partition(b" ")
    match scheme.lower():
        case b"bearer":
            return value.strip()
        case b"basic":
            return _password(value)
        case _:
            return exchange.header(b"x-api-key") or exchange.header(b"api-key") or value.strip()


def _password(value: bytes) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
