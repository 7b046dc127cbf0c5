"""Who may call and who may register: by key, role and network, and by which name a browser came."""

from __future__ import annotations

import base64
import logging
import socket
import time
from typing import Any, cast

import pytest

from trunkcall.control.access import Access, Hosts, Networks, allow_calls, allow_workers, guard
from trunkcall.control.keyring import OPERATOR, Keyring
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.store.keys import StoredKey, digest_of


def keyring_of(*entries: KeyEntry, disabled: bool = False, **configured: str) -> Keyring:
    """Keys as a store would have them; the secret of each is its name with `!`."""
    keyring = Keyring(configured=configured)
    keyring.take(
        StoredKey(entry=entry, digest=digest_of(f"{entry.name}!"), created_at=0.0, disabled=disabled)
        for entry in entries
    )
    return keyring


class Caller:
    """What the guards look at of an exchange."""

    def __init__(self, client: str, principal: str = "") -> None:
        self.client = client
        self.principal = principal


def passes(check: Any, client: str, principal: str = "") -> bool:
    try:
        check(cast(Any, Caller(client, principal)))
    except ServingError as error:
        assert error.kind == "forbidden"
        return False
    return True


@pytest.mark.parametrize(
    ("words", "address", "inside"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["10.0.0.7"], "10.0.0.7", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["fd00::/8"], "fd12::1", True),
        (["0.0.0.0/0"], "fd12::1", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "unix:/tmp/socket", False),
        ([], "127.0.0.1", False),
    ],
)
def test_networks(words: list[str], address: str, inside: bool) -> None:
    assert (address in Networks(words)) is inside


@pytest.mark.parametrize(
    ("networks", "client", "may_call", "may_register"),
    [
        ((), "10.1.1.1", True, False),
        ((), "127.0.0.1", True, True),
        (("10.0.0.0/8",), "10.1.1.1", True, True),
        (("10.0.0.0/8",), "192.168.1.1", False, False),
        (("10.0.0.0/8",), "::1", True, True),
    ],
)
def test_calls_are_open_and_registration_is_not(
    networks: tuple[str, ...], client: str, may_call: bool, may_register: bool
) -> None:
    assert passes(allow_calls(networks), client) is may_call
    access = Access(keyring_of(KeyEntry(name="ann"), ops="s"))
    assert passes(allow_workers(networks, access), client) is may_register
    assert passes(allow_workers(networks, access), client, principal="ops"), "an administrator's key opens it too"
    assert not passes(allow_workers(networks, access), client, principal="ann"), "another key never"


class Request:
    """What the check of keys looks at of an exchange."""

    def __init__(
        self, path: str, key: str = "", method: str = "POST", headers: dict[bytes, bytes] | None = None
    ) -> None:
        self.path = path
        self.method = method
        self.principal = ""
        self.client = "10.0.0.7"
        self._headers = {b"authorization": f"Bearer {key}".encode()} if key else headers or {}

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


class PartlyOpenApi:
    name = "some"
    open_paths = frozenset({"/open", "GET /half"})


@pytest.mark.parametrize(
    ("path", "key", "principal"),
    [("/open", "", ""), ("/open", "wrong", ""), ("/open", "s", "k"), ("/closed", "s", "k"),
     ("/closed", "", None), ("/closed", "wrong", None), ("/open/x", "", None)],
)  # fmt: skip
def test_an_api_may_have_paths_that_need_no_key(path: str, key: str, principal: str | None) -> None:
    request = cast(Any, Request(path, key))
    try:
        Access(keyring_of(k="s")).check(request, cast(Any, PartlyOpenApi()))
    except ServingError as error:
        assert (error.kind, principal) == ("unauthenticated", None)
    else:
        assert request.principal == principal


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_may_be_open_for_one_method(method: str) -> None:
    request = cast(Any, Request("/half", method=method))
    if method == "GET":
        Access(keyring_of(k="s")).check(request, cast(Any, PartlyOpenApi()))
    else:
        with pytest.raises(ServingError, match="needs an API key"):
            Access(keyring_of(k="s")).check(request, cast(Any, PartlyOpenApi()))


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("Bearer s", True), ("bEARER   s ", True), ("Bearer S", False), ("Bearer", False),
        ("Basic " + base64.b64encode(b"user:s").decode(), True),
        ("basic " + base64.b64encode(b":s").decode(), True),
        ("Basic " + base64.b64encode(b"s").decode(), False),
        ("Basic " + base64.b64encode(b"s:user").decode(), False),
        ("Basic user:s", False),
        ("Basic \xff", False),
        ("user s", True),
        ("s", False),
    ],
)  # fmt: skip
def test_ways_to_show_a_key(header: str, known: bool) -> None:
    request = cast(Any, Request("/closed", headers={b"authorization": header.encode("latin-1")}))
    try:
        Access(keyring_of(k="s")).check(request, cast(Any, PartlyOpenApi()))
    except ServingError as error:
        assert (error.kind, known) == ("unauthenticated", False)
    else:
        assert (request.principal, known) == ("k", True)


@pytest.mark.parametrize(
    ("shown", "known"), [("ann:one", True), ("bob:one", False), (":one", False), ("ann:", False), ("ann:one:", False)]
)
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_user_is_let_in_by_both_its_words(scheme: str, shown: str, known: bool) -> None:
    header = f"{scheme} {base64.b64encode(shown.encode()).decode() if scheme == 'Basic' else shown}"
    request = cast(Any, Request("/closed", headers={b"authorization": header.encode()}))
    try:
        Access(keyring_of(k="ann:one")).check(request, cast(Any, PartlyOpenApi()))
    except ServingError as error:
        assert (error.kind, known) == ("unauthenticated", False)
    else:
        assert (request.principal, known) == ("k", True)


class SomeApi:
    def __init__(self, name: str = "some") -> None:
        self.name = name


def check(keyring: Keyring, secret: str = "", api: str = "some") -> str:
    """The principal, or the kind of the refusal."""
    request = Request("/x", secret)
    try:
        Access(keyring).check(cast(Any, request), cast(Any, SomeApi(api)))
    except ServingError as error:
        assert secret not in error.message or not secret
        return f"{error.kind}: {error.message}"
    return request.principal


def test_without_keys_any_credential_is_ignored() -> None:
    keyring = Keyring()
    assert check(keyring, "anything") == check(keyring) == check(keyring, "x", "admin") == ""
    keyring.admit_operator("own")
    assert check(keyring, "anything") == "", "the command line's own key is none that others need"
    assert check(keyring, "own", "admin") == ""


def test_a_public_server_stays_closed_when_its_last_key_goes() -> None:
    keyring = Keyring()
    keyring.require()
    keyring.admit_operator("own")
    assert check(keyring).startswith("unauthenticated")
    assert check(keyring, "anything").startswith("unauthenticated")
    assert check(keyring, "own", "admin") == OPERATOR


@pytest.mark.parametrize(
    ("secret", "api", "found"),
    [
        ("ann!", "some", "ann"), ("root!", "some", "root"), ("s", "some", "file"),
        ("ann!", "admin", "forbidden: "), ("root!", "admin", "root"), ("s", "admin", "file"),
        ("", "some", "unauthenticated: this server needs an API key"),
        ("ann", "some", "unauthenticated: the API key is not known"),
        ("old!", "some", "unauthenticated: the API key 'old' expired at 1970-01-01 00:01 UTC"),
        ("", "landing", ""), ("wrong", "landing", ""), ("old!", "landing", ""), ("ann!", "landing", "ann"),
        ("", "admin", "unauthenticated: "),
    ],
)  # fmt: skip
def test_keys_and_roles(secret: str, api: str, found: str) -> None:
    keyring = keyring_of(
        KeyEntry(name="ann", expires_at=time.time() + 60),
        KeyEntry(name="root", role="admin"),
        KeyEntry(name="old", expires_at=60.0),
        file="s",
    )
    said = check(keyring, secret, api)
    assert said.startswith(found)
    assert said == found or found.endswith(" ") or ": " in found


def test_a_disabled_key_says_so() -> None:
    assert "'ann' is disabled" in check(keyring_of(KeyEntry(name="ann"), disabled=True), "ann!")


def test_refusals_are_logged_without_the_key_and_not_without_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(keyring_of(k="s"))
    monkeypatch.setattr(logging.getLogger("trunkcall"), "propagate", True)
    monkeypatch.setattr("trunkcall.control.access.time.monotonic", lambda: 1000.0)
    with caplog.at_level(logging.WARNING, "trunkcall"):
        for _ in range(100):
            with pytest.raises(ServingError):
                access.check(cast(Any, Request("/x", "sk-guessed")), cast(Any, SomeApi()))
    (record,) = caplog.records
    assert digest_of("sk-guessed")[:6] in record.getMessage()
    assert "10.0.0.7" in record.getMessage()
    assert "guessed" not in record.getMessage()


OWN = socket.gethostname()
BROWSER = {b"origin": b"http://evil.example:8000"}


@pytest.mark.parametrize(
    ("host", "browser", "passes"),
    [
        ("evil.example:8000", {}, True),
        ("evil.example:8000", BROWSER, False),
        ("evil.example", {b"sec-fetch-site": b"same-origin"}, False),
        ("127.0.0.1.evil.example:8000", BROWSER, False),
        ("localhost.evil.example", BROWSER, False),
        ("0.0.0.0:8000", BROWSER, False),
        ("[2001:db8::1]:80", BROWSER, False),
        ("10.0.0.1", BROWSER, False),
        ("127.0.0.1:8000", BROWSER, True),
        ("127.1.2.3", BROWSER, True),
        ("[::1]:8000", BROWSER, True),
        ("localhost:8000", BROWSER, True),
        ("LocalHost.:8000", BROWSER, True),
        ("a.localhost", BROWSER, True),
        (f"{OWN}:8000", BROWSER, True),
        ("Chat.Example:8000", BROWSER, True),
        ("", BROWSER, True),
    ],
)
def test_names_by_which_browsers_come(host: str, browser: dict[bytes, bytes], passes: bool) -> None:
    request = cast(Any, Request("/x", headers={b"host": host.encode(), **browser}))
    check = guard(Access(Keyring()), hosts=Hosts(["chat.example"]))
    if passes:
        check(request, cast(Any, SomeApi()))
    else:
        with pytest.raises(ServingError, match="hosts") as raised:
            check(request, cast(Any, SomeApi()))
        assert raised.value.kind == "forbidden"


def test_names_do_not_matter_where_a_key_is_needed_or_on_a_public_address() -> None:
    headers = {b"host": b"evil.example", b"authorization": b"Bearer s", **BROWSER}
    request = cast(Any, Request("/x", headers=headers))
    guard(Access(keyring_of(k="s")), hosts=Hosts())(request, cast(Any, SomeApi()))
    assert request.principal == "k"
    guard(Access(Keyring()), hosts=None)(request, cast(Any, SomeApi()))


def test_networks_come_before_keys() -> None:
    refused: list[tuple[str, str]] = []
    check = guard(Access(keyring_of(k="s")), ("192.168.0.0/16",), refused=lambda api, kind: refused.append((api, kind)))
    with pytest.raises(ServingError, match="not open to"):
        check(cast(Any, Request("/x", "s")), cast(Any, SomeApi()))
    assert refused == [("some", "forbidden")]


@pytest.mark.parametrize(
    ("path", "key", "said"),
    [
        ("/open", "", ""), ("/open", "ann!", "ann"), ("/adapters", "s", "k"),
        ("/adapters", "", "unauthenticated"), ("/adapters", "ann!", "forbidden"),
    ],
)  # fmt: skip
def test_what_is_not_open_of_a_server_of_its_own_is_for_administrators(path: str, key: str, said: str) -> None:
    class Vllm(SomeApi):
        open_paths = frozenset({"/open"})

    request = cast(Any, Request(path, key))
    try:
        Access(keyring_of(KeyEntry(name="ann"), k="s")).check(request, cast(Any, Vllm("vllm")))
    except ServingError as error:
        assert error.kind == said
    else:
        assert request.principal == said
