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

HomeFlag = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="State directory. Default: TRUNKCALL_HOME, or the platform's place."),
]
ConfigFlag = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file. Default: ./trunkcall.yaml, or HOME/trunkcall.yaml."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]


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
) -> None:
    """Start the server in the foreground."""
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
        ),
    )
    sys.stdout.flush()
    # The same process goes on without what only the command line needs: typer is 7 MB that a server would keep.
    text = msgspec.json.encode(asked).decode()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "trunkcall.cli.server", text])


@models_app.command("ls")
def models_ls(home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> None:
    """List the models."""
    from trunkcall.cli import models

    models.ls(home, config, json)


@models_app.command("add")
def models_add(
    name: NameArgument,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A .gguf file, openai:URL[#model], pocket, …")],
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Add a model, for good."""
    from trunkcall.cli import models

    models.add(home, config, name, source)


@models_app.command("rm")
def models_rm(name: NameArgument, home: HomeFlag = None, config: ConfigFlag = None) -> None:
    """Remove a model that was added."""
    from trunkcall.cli import models

    models.rm(home, config, name)


@models_app.command("change")
def models_change(
    name: NameArgument,
    asleep: Annotated[
        bool | None, typer.Option("--sleep/--wake", help="Free the GPU of a model that can sleep; or wake it.")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option("--lora", metavar="NAME=PATH", help="Load an adapter; repeatable.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--no-lora", metavar="NAME", help="Take an adapter out; repeatable.")
    ] = None,
    home: HomeFlag = None,
) -> None:
    """Change a model of the running server."""
    from trunkcall.cli import models

    models.change(home, name, asleep, lora or [], drop or [])


@models_app.command("show")
def models_show(name: NameArgument, home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> None:
    """Show a model and its replicas."""
    from trunkcall.cli import models

    models.show(home, config, name, json)


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
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back, such as 12h, 1d, 4w.")] = "1d",
    by: Annotated[
        str, typer.Option(metavar="FIELDS", help="Group by model, key, day, replica, protocol, error; between commas.")
    ] = "model",
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show requests and tokens from the ledger."""
    from trunkcall.cli.usage import usage as report

    report(home, config, since, by, json)


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
