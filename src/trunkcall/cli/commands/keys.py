"""`trunkcall keys`."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag, KeyFlag, StoreFlag, UrlFlag

app = typer.Typer(help="Make, change and remove API keys, on a running server or before one is started.")

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")]
ModelsFlag = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="A model that it may ask for; repeatable; `all` for all of them."),
]
RpmFlag = Annotated[str | None, typer.Option("--rpm", metavar="N", help="Requests per minute, or none.")]
TpmFlag = Annotated[str | None, typer.Option("--tpm", metavar="N", help="Tokens per minute, such as 100k, or none.")]
DailyTokensFlag = Annotated[
    str | None, typer.Option("--tokens-per-day", metavar="N", help="Tokens per day (UTC), such as 2m, or none.")
]
MonthlyTokensFlag = Annotated[
    str | None, typer.Option("--tokens-per-month", metavar="N", help="Tokens per month (UTC), or none.")
]
DailyMoneyFlag = Annotated[
    str | None, typer.Option("--money-per-day", metavar="X", help="By the models' prices, or none.")
]
MonthlyMoneyFlag = Annotated[str | None, typer.Option("--money-per-month", metavar="X", help="Likewise.")]
ExpiresFlag = Annotated[
    str | None, typer.Option("--expires", metavar="WHEN", help="A duration such as 30d, a date (UTC), or none.")
]


@app.command()
def create(
    name: KeyName,
    role: Annotated[str, typer.Option(metavar="ROLE", help="user may ask models; admin may do everything.")] = "user",
    model: ModelsFlag = None,
    rpm: RpmFlag = None,
    tpm: TpmFlag = None,
    tokens_per_day: DailyTokensFlag = None,
    tokens_per_month: MonthlyTokensFlag = None,
    money_per_day: DailyMoneyFlag = None,
    money_per_month: MonthlyMoneyFlag = None,
    expires: ExpiresFlag = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Make a key. It is shown this once; into a pipe, nothing else is printed."""
    from trunkcall.cli import keys, offline, reached

    texts = keys.by_field(rpm, tpm, tokens_per_day, tokens_per_month, money_per_day, money_per_month)
    given = keys.limits(texts, role, model or [], expires)
    keys.create(reached.reach(home, url, key), offline.Offline(config, store), name, given, json)


@app.command()
def ls(
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """List the keys, their limits and what they have used."""
    from trunkcall.cli import keys, offline, reached

    keys.ls(reached.reach(home, url, key), offline.Offline(config, store), json)


@app.command()
def show(
    name: KeyName,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show a key."""
    from trunkcall.cli import keys, offline, reached

    keys.show(reached.reach(home, url, key), offline.Offline(config, store), name, json)


@app.command()
def change(
    name: KeyName,
    role: Annotated[str | None, typer.Option(metavar="ROLE", help="user or admin.")] = None,
    model: ModelsFlag = None,
    rpm: RpmFlag = None,
    tpm: TpmFlag = None,
    tokens_per_day: DailyTokensFlag = None,
    tokens_per_month: MonthlyTokensFlag = None,
    money_per_day: DailyMoneyFlag = None,
    money_per_month: MonthlyMoneyFlag = None,
    expires: ExpiresFlag = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Give a key other limits; what is not given stays."""
    from trunkcall.cli import keys, offline, reached

    texts = keys.by_field(rpm, tpm, tokens_per_day, tokens_per_month, money_per_day, money_per_month)
    keys.change(
        reached.reach(home, url, key),
        offline.Offline(config, store),
        name,
        keys.limits(texts, role, model or [], expires),
        json,
    )


@app.command()
def disable(
    name: KeyName,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Refuse a key until it is enabled again."""
    from trunkcall.cli import keys, offline, reached

    keys.change(reached.reach(home, url, key), offline.Offline(config, store), name, {"disabled": True}, json)


@app.command()
def enable(
    name: KeyName,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Take a disabled key again."""
    from trunkcall.cli import keys, offline, reached

    keys.change(reached.reach(home, url, key), offline.Offline(config, store), name, {"disabled": False}, json)


@app.command()
def rm(
    name: KeyName,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
) -> None:
    """Remove a key; its next request is refused."""
    from trunkcall.cli import keys, offline, reached

    keys.rm(reached.reach(home, url, key), offline.Offline(config, store), name)
