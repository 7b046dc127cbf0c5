"""Who may call: by key and role, by network, and from a browser only under a name of this machine."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, runtime_checkable

from trunkcall.control.keyring import Account, Keyring
from trunkcall.control.own_page import Pages
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Api, Exchange

Guard = Callable[[Exchange, Api], None]

_OPEN_APIS: Final = frozenset({"landing"})
"""Health checks answer without a key, and tell less then."""
_ADMIN_APIS: Final = frozenset({"admin", "vllm"})
"""What is not open of these is for administrators."""
_TELLING: Final = frozenset({"/web/api/session"})
"""Open paths that tell whether a key is right: guesses are in the log like those that are refused."""
_LOG_EVERY: Final = 1.0
"""Seconds between two lines about refused keys, so that guessing does not fill the disk."""


@runtime_checkable
class PartlyOpen(Protocol):
    """An api with paths that need no key, because the operator said so; `GET /path` is one for that method only."""

    open_paths: frozenset[str]


class Access:
    """Checks a caller's key and role. Without any key every credential is accepted and ignored, because old clients
    send dummies; the listeners are then bound to loopback only.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._silent_until = 0.0
        self._unsaid = 0

    @property
    def open(self) -> bool:
        """Whether nobody needs a key."""
        return not self._keyring.closed

    def check(self, exchange: Exchange, api: Api) -> None:
        """Set exchange.principal to the key's name; an api may have paths that need no key.

        Raises ServingError: unauthenticated, and forbidden for administration without the role.
        """
        if not self._keyring.closed:
            return
        secret, account = self._shown(exchange)
        if account is None or account.disabled or _has_expired(account):
            refusal = self._refusal(secret, account)
            is_open = api.name in _OPEN_APIS or _is_open(exchange, api)
            if secret and (not is_open or exchange.path in _TELLING):
                self._log(exchange, secret, refusal)
            if is_open:
                return
            raise refusal
        exchange.principal = account.name
        if api.name in _ADMIN_APIS and not _is_open(exchange, api):
            self.admin(exchange)

    def admin(self, exchange: Exchange) -> None:
        """Raises ServingError (forbidden) for a caller whose key has not the role admin."""
        if exchange.principal and not self._keyring.administers(exchange.principal):
            raise ServingError(
                "forbidden",
                f"the key {exchange.principal!r} may ask models only; this needs a key with the role admin",
            )

    def _shown(self, exchange: Exchange) -> tuple[bytes, Account | None]:
        """The key that a caller shows, and whose it is."""
        secret = b""
        for secret in _secrets(exchange):
            account = self._keyring.account(secret) if secret else None
            if account is not None:
                return secret, account
        return secret, None

    def _refusal(self, secret: bytes, account: Account | None) -> ServingError:
        if not secret:
            return ServingError(
                "unauthenticated", "this server needs an API key: send it as `Authorization: Bearer KEY`"
            )
        if account is None:
            said = "the API key is not known to this server"
        elif account.disabled:
            said = f"the API key {account.name!r} is disabled; an administrator can enable it"
        else:
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(account.entry.expires_at))
            said = f"the API key {account.name!r} expired at {when}; ask for a new one"
        return ServingError("unauthenticated", said)

    def _log(self, exchange: Exchange, secret: bytes, refusal: ServingError) -> None:
        now = time.monotonic()
        if now < self._silent_until:
            self._unsaid += 1
            return
        more = f"; {self._unsaid} more were refused since the line before" if self._unsaid else ""
        digest = hashlib.sha256(secret).hexdigest()[:6]
        log.warning("refused %s: %s (sha256 %s…)%s", exchange.client, refusal.message, digest, more)
        self._silent_until = now + _LOG_EVERY
        self._unsaid = 0


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


def allow_workers(networks: Sequence[str], access: Access) -> Callable[[Exchange], None]:
    """A guard that lets workers of these networks and loopback register; a caller with an administrator's key may
    too, one with another key never.
    """
    allowed = Networks((*LOOPBACK, *networks))

    def check(exchange: Exchange) -> None:
        if exchange.principal:
            access.admin(exchange)
        elif exchange.client not in allowed:
            raise ServingError(
                "forbidden",
                f"workers at {exchange.client} may not register here: whoever registers gets prompts. "
                "Add its network to the listener's workers_from",
            )

    return check


class Hosts:
    """The names by which a browser may reach a server on loopback that asks for no key.

    A page that points a DNS name of its own at 127.0.0.1 is same-origin to the browser and could ask; programs that are
    no browsers send none of a browser's headers and pass. more: the operator's names beside.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        self._own = frozenset({"localhost", own, short, f"{short}.local"})
        self.allow(more)

    def allow(self, more: Iterable[str]) -> None:
        """Other names of the operator's from now on."""
        self._names = self._own.union(name.lower() for name in more)

    def check(self, exchange: Exchange) -> None:
        """Raises ServingError (forbidden) for a browser that came by another name."""
        if exchange.header(b"origin") is None and exchange.header(b"sec-fetch-site") is None:
            return
        host = _host(exchange.header(b"host") or b"")
        if host and host not in self._names and not host.endswith(".localhost") and not _is_loopback(host):
            raise ServingError(
                "forbidden",
                f"this server asks for no key, so that browsers may reach it by names of this machine only, and "
                f"{host!r} is none: use http://localhost, or add the name to `hosts` in trunkcall.yaml",
            )


def guard(
    access: Access,
    networks: Sequence[str] = (),
    hosts: Hosts | None = None,
    pages: Pages | None = None,
    refused: Callable[[str, Kind], None] = lambda api, kind: None,
) -> Guard:
    """What a listener asks of every request before its api sees it.

    networks: those that may call, empty for all; hosts: None for a listener that is not on loopback; pages: None for
    all; refused: told of callers that are turned away, by the name of the api and the error's kind.
    """
    check_network = allow_calls(networks) if networks else None

    def check(exchange: Exchange, api: Api) -> None:
        try:
            if check_network is not None:
                check_network(exchange)
            if access.open:
                if hosts is not None:
                    hosts.check(exchange)
                if pages is not None:
                    pages.check(exchange)
            access.check(exchange, api)
        except ServingError as error:
            refused(api.name, error.kind)
            raise

    return check


def _has_expired(account: Account) -> bool:
    end = account.entry.expires_at
    return end is not None and time.time() >= end


def _host(header: bytes) -> str:
    """The name or address of a Host header, without its port."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_open(exchange: Exchange, api: Api) -> bool:
    if not isinstance(api, PartlyOpen):
        return False
    return exchange.path in api.open_paths or f"{exchange.method} {exchange.path}" in api.open_paths


def _secrets(exchange: Exchange) -> tuple[bytes, ...]:
    """What a caller may mean by its key: a bearer's, HTTP basic's `USER:PASSWORD` or its password with whatever user,
    what its SDK calls an API key, or what follows any other word, as h2oGPT sends `USER KEY`.
    """
    scheme, _, value = (exchange.header(b"authorization") or b"").partition(b" ")
    match scheme.lower():
        case b"bearer":
            return (value.strip(),)
        case b"basic":
            pair = _decoded(value)
            _, colon, password = pair.partition(b":")
            return (pair, password) if colon else ()
        case _:
            return (exchange.header(b"x-api-key") or exchange.header(b"api-key") or value.strip(),)


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        return b""
