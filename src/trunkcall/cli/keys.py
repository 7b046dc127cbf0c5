"""`trunkcall keys`: through the admin API of a running server, else in the store of the home."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.offline import Offline, find
from trunkcall.cli.output import print_json, print_table
from trunkcall.config import Loaded
from trunkcall.config_file import duration
from trunkcall.control.keyring import check, fresh
from trunkcall.control.operations import KeyView
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import ROLES, KeyEntry
from trunkcall.home import Home
from trunkcall.store.database import connect
from trunkcall.store.importer import Importer
from trunkcall.store.keys import KeyStore, StoredKey, unknown
from trunkcall.store.ledger import Spent, spent

Reached = tuple[Home, Server | None]
"""What cli.reached.reach gives."""

_NONE: Final = "none"
_THOUSANDS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_FLAGS: Final = {
    "requests_per_minute": "--rpm",
    "tokens_per_minute": "--tpm",
    "tokens_per_day": "--tokens-per-day",
    "tokens_per_month": "--tokens-per-month",
    "money_per_day": "--money-per-day",
    "money_per_month": "--money-per-month",
}
"""The limits of a key, and how they are given."""


class _Keys(msgspec.Struct):
    keys: list[KeyView]


class _Made(msgspec.Struct):
    secret: str
    key: KeyView


def create(reached: Reached, told: Offline, name: str, given: Mapping[str, Any], as_json: bool) -> None:
    """Make a key and print its secret: alone into a pipe, with a few words on a terminal."""
    home, server = reached
    entry = _converted({"name": name, **given})
    check(entry)
    if server is not None:
        made = server.ask("POST", "/admin/keys", _Made, entry)
    else:
        store, _ = _opened(home, told)
        secret, key = fresh(entry)
        store.add(key)
        made = _Made(secret, _view(key))
    if as_json:
        print_json(made)
    elif not sys.stdout.isatty():
        print(made.secret)
    else:
        print(
            f"The key {name} is made. It is shown this once:\n\n  {made.secret}\n\n"
            f"Callers send it as `Authorization: Bearer KEY`. It has the role {entry.role} and may ask for "
            f"{', '.join(entry.models) or 'all models'}; limits: {_limits(entry) or 'none'}.\n"
            "A server that has a key takes no call without one, on loopback neither."
        )


def ls(reached: Reached, told: Offline, as_json: bool) -> None:
    """Print every key and what it has used."""
    views = _views(reached, told)
    if as_json:
        print_json({"keys": views})
        return
    if not views:
        print("there is no key; make one with: trunkcall keys create NAME")
        return
    costs = any(view.money_this_month for view in views)
    money = ("MONEY TODAY", "THIS MONTH") if costs else ()
    print_table(
        ("NAME", "ROLE", "STATE", "MODELS", "TOKENS TODAY", "THIS MONTH", *money, "LIMITS"),
        [
            (
                view.entry.name,
                view.entry.role,
                _state(view),
                ", ".join(view.entry.models) or "all",
                str(view.tokens_today),
                str(view.tokens_this_month),
                *((f"{view.money_today:.6g}", f"{view.money_this_month:.6g}") if costs else ()),
                _briefly(view.entry) or "-",
            )
            for view in views
        ],
        one_line=True,
    )


def show(reached: Reached, told: Offline, name: str, as_json: bool) -> None:
    """Print one key."""
    _, server = reached
    view = _found(_views(reached, told), name) if server is None else server.read(_path_of(name), KeyView)
    if as_json:
        print_json(view)
        return
    entry = view.entry
    print(f"{entry.name}: {_state(view)}, role {entry.role}, from {view.origin}")
    print(f"models:     {', '.join(entry.models) or 'all'}")
    print(f"limits:     {_limits(entry) or 'none'}")
    print(f"today:      {view.tokens_today} tokens, {view.money_today:.6g} money")
    print(f"this month: {view.tokens_this_month} tokens, {view.money_this_month:.6g} money")
    if view.created_at:
        print(f"made:       {_date(view.created_at)}")
    if entry.expires_at is not None:
        print(f"expires:    {_date(entry.expires_at)}")


def change(reached: Reached, told: Offline, name: str, given: Mapping[str, Any], as_json: bool) -> None:
    """Give a key other limits, or disable or enable it; what is not given stays."""
    if not given:
        raise ServingError("bad_request", "nothing is to be changed; give for example --rpm 60, or --rpm none")
    home, server = reached
    if server is not None:
        view = server.ask("PATCH", _path_of(name), KeyView, given)
    else:
        store, loaded = _opened(home, told)
        _refuse_configured(loaded, name)
        key = next((found for found in store.read() if found.entry.name == name), None)
        if key is None:
            raise unknown(name)
        changes = dict(given)
        disabled = changes.pop("disabled", key.disabled)
        entry = _converted({**msgspec.to_builtins(key.entry), **changes})
        key = msgspec.structs.replace(key, entry=entry, disabled=disabled)
        store.change(key)
        view = _view(key)
    if as_json:
        print_json(view)
    else:
        print(f"{name} is changed: {_state(view)}, limits: {_limits(view.entry) or 'none'}")


def rm(reached: Reached, told: Offline, name: str) -> None:
    """Forget a key."""
    home, server = reached
    if server is not None:
        server.call("DELETE", _path_of(name))
    else:
        store, loaded = _opened(home, told)
        _refuse_configured(loaded, name)
        store.remove(name)
    print(f"{name} is removed")


def _path_of(name: str) -> str:
    return f"/admin/keys/{quote(name, safe='')}"


def by_field(*texts: str | None) -> dict[str, str | None]:
    """The limits of a command line, in the order of _FLAGS, by their fields."""
    return dict(zip(_FLAGS, texts, strict=True))


def limits(
    texts: Mapping[str, str | None], role: str | None, models: Sequence[str], expires: str | None
) -> dict[str, Any]:
    """What was given on a command line, as fields of a KeyEntry.

    texts: by the fields of _FLAGS, `none` for no limit; expires: a duration, a date, or `none`. Raises ServingError
    (bad_request) naming the flag.
    """
    given: dict[str, Any] = {}
    for field, text in texts.items():
        if text is not None:
            given[field] = None if text == _NONE else _number(text, field)
    if role is not None:
        if role not in ROLES:
            raise ServingError("bad_request", f"--role: {role!r} is none; write {' or '.join(ROLES)}")
        given["role"] = role
    if models:
        given["models"] = [] if list(models) == ["all"] else list(models)
    if expires is not None:
        given["expires_at"] = None if expires == _NONE else _moment(expires)
    return given


def _number(text: str, field: str) -> float:
    found = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kmg]?)", text.strip().lower())
    whole = not field.startswith("money")
    value = float(found[1]) * _THOUSANDS[found[2]] if found else -1.0
    if value < 0 or (whole and value != int(value)):
        example = "0.5, 20 or none" if field.startswith("money") else "60, 100k or none"
        raise ServingError("bad_request", f"{_FLAGS[field]}: {text!r} is not such a limit; write for example {example}")
    return int(value) if whole else value


def _moment(text: str) -> float:
    if re.fullmatch(r"\d{4}-\d\d?-\d\d?.*", text):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ServingError("bad_request", f"--expires: {text!r} is no date; write for example 2026-12-31") from None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return time.time() + duration(text, "--expires")


def _converted(fields: Mapping[str, Any]) -> KeyEntry:
    try:
        return msgspec.convert(fields, KeyEntry)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`")
        raise ServingError("bad_request", f"{_FLAGS.get(field, f'--{field}')}: {reason}") from None


def _views(reached: Reached, told: Offline) -> list[KeyView]:
    home, server = reached
    if server is not None:
        return server.read("/admin/keys", _Keys).keys
    store, loaded = _opened(home, told)
    found = [_view(key) for key in store.read()]
    found += [
        KeyView(entry=KeyEntry(name=reference, role="admin"), origin=reference) for reference in loaded.settings.keys
    ]
    used = _used(home, home.ledger(loaded.settings.store)) if found else {}
    return sorted((_with(view, used.get(view.entry.name)) for view in found), key=lambda view: view.entry.name)


def _used(home: Home, url: str) -> dict[str, Spent]:
    """What the ledger says that keys have used, with what the journal of a server that is gone still holds."""
    Importer(home.journal, url).import_now()
    with closing(connect(url)) as database:
        return {one.key: one for one in spent(database, time.time())}


def _with(view: KeyView, used: Spent | None) -> KeyView:
    if used is None:
        return view
    return msgspec.structs.replace(
        view,
        tokens_today=used.tokens_today,
        tokens_this_month=used.tokens_this_month,
        money_today=used.money_today,
        money_this_month=used.money_this_month,
    )


def _found(views: Sequence[KeyView], name: str) -> KeyView:
    for view in views:
        if view.entry.name == name:
            return view
    raise unknown(name)


def _opened(home: Home, told: Offline) -> tuple[KeyStore, Loaded]:
    url, loaded = find(home, told)
    home.ensure()
    return KeyStore(url), loaded


def _refuse_configured(loaded: Loaded, name: str) -> None:
    if name in loaded.settings.keys:
        raise ServingError("conflict", f"the key {name!r} stands in the settings (`keys`); change it there")


def _view(key: StoredKey) -> KeyView:
    return KeyView(entry=key.entry, origin="store", created_at=key.created_at, disabled=key.disabled)


def _state(view: KeyView) -> str:
    if view.disabled:
        return "disabled"
    end = view.entry.expires_at
    return "expired" if end is not None and end <= time.time() else "good"


def _limits(entry: KeyEntry) -> str:
    told: list[str] = []
    for field in _FLAGS:
        value = cast("float | None", getattr(entry, field))
        if value is not None:
            amount = f"{value:g}" if field.startswith("money") else str(value)
            told.append(f"{amount} {field.replace('_', ' ')}")
    if entry.expires_at is not None:
        told.append(f"until {_date(entry.expires_at)}")
    return ", ".join(told)


def _briefly(entry: KeyEntry) -> str:
    """Its limits in the words of a command line, as a table has no room for more."""
    told: list[str] = []
    for field, flag in _FLAGS.items():
        value = cast("float | None", getattr(entry, field))
        if value is not None:
            word = flag.removeprefix("--").replace("-per-", "/")
            told.append(f"{value:g} {word}" if field.startswith("money") else f"{_shortened(value)} {word}")
    if entry.expires_at is not None:
        told.append(f"until {_date(entry.expires_at)[:10]}")
    return ", ".join(told)


def _shortened(count: float) -> str:
    """As it can be given: 100k, 2m."""
    for letter, size in reversed(_THOUSANDS.items()):
        if count and count % size == 0:
            return f"{int(count) // size}{letter}"
    return str(count)


def _date(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix))
