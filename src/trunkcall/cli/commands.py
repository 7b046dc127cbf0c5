"""The commands and their flags; what they do stands in the files beside this one, imported when asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkcall import __version__
from trunkcall.cli.output import close_pipe, complain, complain_of_bug
from trunkcall.core.errors import ServingError

# Without rich_markup_mode=None the help alone imports rich: 0.1 s.
app = typer.Typer(
    name="trunkcall",
    help="One system that serves language models: any client protocol in, any engine or upstream behind.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="List, add and remove models, on a running server or before one is started.")
config_app = typer.Typer(help="Look at the settings and where they come from.")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
keys_app = typer.Typer(help="Make, change and remove API keys, on a running server or before one is started.")
app.add_typer(keys_app, name="keys")

HomeFlag = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="State directory. Default: TRUNKCALL_HOME, or the platform's place."),
]
ConfigFlag = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file. Default: ./trunkcall.yaml, or HOME/trunkcall.yaml."),
]
StoreFlag = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The ledger, where the settings do not say it.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
UrlFlag = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A server elsewhere. Default: the one that runs on the home."),
]
KeyFlag = Annotated[
    str | None,
    typer.Option("--key", envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key, of role admin."),
]
SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting as in trunkcall.yaml, such as ttl=10m; repeatable."),
]
ReplicaFlag = Annotated[str, typer.Option("--replica", metavar="N", help="Only this replica, by its number or id.")]


def run(arguments: list[str]) -> int:
    """Run a command line and give its exit code; every failure is one or two lines on stderr."""
    try:
        result: Any = app(arguments, standalone_mode=False, prog_name="trunkcall")
        return result if isinstance(result, int) else 0
    except ServingError as error:
        return complain(error)
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        print(f"trunkcall: {error.format_message()}", file=sys.stderr)
        context: typer.Context | None = getattr(error, "ctx", None)
        print(f"Try '{context.command_path if context else 'trunkcall'} --help'.", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return close_pipe()
    except Exception as error:  # noqa: BLE001 - no traceback may reach a user
        return complain_of_bug(error)


@app.callback(invoke_without_command=True)
def trunkcall(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if show_version:
        print(f"trunkcall {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


@app.command()
def up(
    config: ConfigFlag = None,
    host: Annotated[str | None, typer.Option(help="Address of the main port. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The main port. Default: 8000.")] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDR=API,…", help="One more address and what it serves; repeatable."),
    ] = None,
    home: HomeFlag = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=SOURCE",
            help="Serve a model from a .gguf file, openai:URL[#model], pocket, debug or dummy; repeatable.",
        ),
    ] = None,
    pocket: Annotated[bool | None, typer.Option("--pocket/--no-pocket", help="Serve the shipped model.")] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. Default: info.")
    ] = None,
    json_logs: Annotated[
        bool | None, typer.Option("--json-logs/--no-json-logs", help="Write the log as JSON lines.")
    ] = None,
    access_log: Annotated[
        bool | None, typer.Option("--access-log/--no-access-log", help="Log a line for each request.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The ledger: sqlite, or postgresql://… Default: sqlite.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the background and end once it is ready.")
    ] = False,
) -> int:
    """Start the server, in the foreground unless told otherwise."""
    import msgspec

    from trunkcall.cli.server import Up
    from trunkcall.config import Flags

    asked = Up(
        config=str(config) if config else None,
        home=str(home) if home else None,
        flags=Flags(
            host=host,
            port=port,
            listen=tuple(listen or ()),
            models=tuple(model or ()),
            pocket=pocket,
            log_level=log_level,
            json_logs=json_logs,
            access_log=access_log,
            store=store,
        ),
    )
    if not detach:
        sys.stdout.flush()
        # The same process goes on without what only the command line needs: typer is 7 MB that a server would keep.
        text = msgspec.json.encode(asked).decode()
        os.execv(sys.executable, [sys.executable, "-P", "-m", "trunkcall.cli.server", text])
    from trunkcall.cli.detach import start

    return start(asked)


@app.command()
def down(
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="How long running answers may go on. Default: drain_timeout."),
    ] = None,
    home: HomeFlag = None,
) -> int:
    """End the server that runs on the home, after its running answers."""
    from trunkcall.cli.detach import down as end

    return end(home, timeout)


@app.command()
def status(
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key, to see models.")
    ] = None,
    home: HomeFlag = None,
    json: JsonFlag = False,
) -> int:
    """Say whether a server runs on the home, and how it is. Exit code: 0 it does, 3 it does not, 4 it is stuck."""
    from trunkcall.cli.status import status as tell

    return tell(home, key, json)


@models_app.command("ls")
def models_ls(
    url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False
) -> None:
    """List the models."""
    from trunkcall.cli import models, reached

    models.ls(reached.reach(home, url, key), config, json)


@models_app.command("add")
def models_add(
    name: NameArgument,
    source: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="A .gguf file, openai:URL[#model], pocket, …; a replica for each."),
    ],
    settings: SetFlag = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Add a model, for good."""
    from trunkcall.cli import models, reached

    models.add(reached.reach(home, url, key), config, name, source, settings or [])


@models_app.command("rm")
def models_rm(
    name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, config: ConfigFlag = None
) -> None:
    """Remove a model that was added."""
    from trunkcall.cli import models, reached

    models.rm(reached.reach(home, url, key), config, name)


@models_app.command("change")
def models_change(
    name: NameArgument,
    settings: SetFlag = None,
    asleep: Annotated[
        bool | None, typer.Option("--sleep/--wake", help="Free the GPU of a model that can sleep; or wake it.")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option("--lora", metavar="NAME=PATH", help="Load an adapter; repeatable.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--no-lora", metavar="NAME", help="Take an adapter out; repeatable.")
    ] = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
) -> None:
    """Change a model of the running server; its settings only where it was added by command."""
    from trunkcall.cli import models, reached

    models.change(reached.required(home, url, key), name, asleep, lora or [], drop or [], settings or [])


@models_app.command("show")
def models_show(
    name: NameArgument,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show a model and its replicas."""
    from trunkcall.cli import models, reached

    models.show(reached.reach(home, url, key), config, name, json)


@models_app.command("load")
def models_load(name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None) -> None:
    """Start a model's engines now; undoes drain."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "load", name, "")


@models_app.command("unload")
def models_unload(name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None) -> None:
    """End a model's engines after their running answers; the next request starts them again."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "unload", name, "")


@models_app.command("drain")
def models_drain(
    name: NameArgument, replica: ReplicaFlag = "", url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None
) -> None:
    """Send a model no new requests until it is loaded; running answers go on."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "drain", name, replica)


@models_app.command("restart")
def models_restart(
    name: NameArgument, replica: ReplicaFlag = "", url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None
) -> None:
    """Start a model's engines anew, one after another, while the others serve."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "restart", name, replica)


@app.command()
def requests(
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Tell all of this one; answers have it as a header.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="Those of this model.")] = "",
    caller: Annotated[str, typer.Option(metavar="NAME", help="Those of the key of this name.")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Those that failed.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 20,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show the latest requests and what happened to each."""
    from trunkcall.cli import reached
    from trunkcall.cli import requests as told

    server = reached.required(home, url, key)
    if id is not None:
        told.show(server, id, json)
    else:
        told.ls(server, model=model, caller=caller, errors=errors, limit=limit, as_json=json)


@app.command()
def logs(
    model: Annotated[str, typer.Argument(metavar="MODEL[/N]", help="A model, or one of its replicas.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1000, help="How many of each replica.")] = 50,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
) -> None:
    """Show what a model's engines wrote."""
    from trunkcall.cli import reached
    from trunkcall.cli.logs import logs as tell

    tell(reached.required(home, url, key), model, follow=follow, lines=lines)


@app.command()
def top(url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, json: JsonFlag = False) -> None:
    """Watch the server: models, replicas, speed, the last requests. `q` ends it; into a pipe it prints once."""
    from trunkcall.cli import reached
    from trunkcall.cli.top import top as watch

    watch(reached.required(home, url, key), json)


@app.command()
def reload(url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, json: JsonFlag = False) -> None:
    """Have the server read its settings again and apply them; what is not valid changes nothing."""
    from trunkcall.cli import reached
    from trunkcall.cli.reloading import reload as apply

    apply(reached.required(home, url, key), json)


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


@keys_app.command("create")
def keys_create(
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


@keys_app.command("ls")
def keys_ls(
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


@keys_app.command("show")
def keys_show(
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


@keys_app.command("change")
def keys_change(
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


@keys_app.command("disable")
def keys_disable(
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


@keys_app.command("enable")
def keys_enable(
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


@keys_app.command("rm")
def keys_rm(
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


@app.command()
def pull(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="hf:ORG/NAME[:FILE][@REVISION]; FILE may be a kind such as Q4_K_M.")
    ],
) -> None:
    """Fetch a model from the Hugging Face Hub into its cache, where an interrupted download goes on."""
    from trunkcall.cli.pull import pull as fetch

    fetch(source)


@app.command()
def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="Answer this and end; without it, converse.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name. Default: the server's first.")] = None,
    url: Annotated[str | None, typer.Option(help="The server. Default: the one that runs on the home.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key.")
    ] = None,
    home: HomeFlag = None,
) -> int:
    """Talk to a model."""
    from trunkcall.cli.chat import chat as talk

    return talk(home, url, key, model, system, " ".join(prompt or ()))


@app.command()
def usage(
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="How far back, such as 12h, 1d, 4w; or a time, such as 2026-01-31.")
    ] = "1d",
    until: Annotated[str, typer.Option(metavar="WHEN", help="The end of the span. Default: now.")] = "",
    by: Annotated[
        str,
        typer.Option(metavar="FIELDS", help="Of model, key, day, hour, replica, protocol and error; between commas."),
    ] = "model",
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show requests, tokens and cost from the ledger."""
    from trunkcall.cli.offline import Offline
    from trunkcall.cli.usage import usage as report

    if csv and json:
        raise ServingError("bad_request", "--csv and --json: only one of them")
    report(home, Offline(config, store), since, until, by, "json" if json else "csv" if csv else "table", url, key)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, such as trunkcall.tar.gz.")],
    store: StoreFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Save the ledger, the journal, keys (as hashes) and added models; a server may run meanwhile."""
    from trunkcall.cli.backup import backup as save
    from trunkcall.cli.offline import Offline

    save(file, home, Offline(config, store))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `trunkcall backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    store: StoreFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Put a backup in place, also into another database; no server may run on the home."""
    from trunkcall.cli.backup import restore as put_back
    from trunkcall.cli.offline import Offline

    put_back(file, home, Offline(config, store), force)


@app.command(
    "as",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)
def run_as(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[--show] COMMAND ...", help="An old command line as it was written.")
    ] = None,
) -> int:
    """Run an old command line, such as kuwa-executor or vllm serve. `trunkcall as --help` lists them."""
    from trunkcall.cli import old

    return old.run_as(arguments or [])


@app.command()
def takeover(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="kuwa or vllm")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put them. Default: HOME/takeover/SYSTEM.")
    ] = None,
) -> None:
    """Put launchers and modules under an old system's names, so that its documented commands run."""
    from trunkcall.cli import old

    old.takeover(system, into)


@app.command()
def doctor(home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> int:
    """Look at this machine and the settings: what works, what does not, and what to do about it."""
    from trunkcall.cli.doctor import doctor as examine

    return examine(home, config, json)


@config_app.command("show")
def config_show(home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> None:
    """Print the settings in force; secrets only as references."""
    from trunkcall.cli import settings

    settings.show(home, config, json)


@config_app.command("explain")
def config_explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as log_level or models.NAME.")],
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Say where a setting's value comes from."""
    from trunkcall.cli import settings

    settings.explain(home, config, key, json)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of trunkcall.yaml, for editors."""
    from trunkcall.cli import settings

    settings.schema()


@app.command()
def version(json: JsonFlag = False) -> None:
    """Print the version."""
    import platform

    if json:
        from trunkcall.cli.output import print_json

        print_json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        print(f"trunkcall {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
