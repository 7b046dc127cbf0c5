"""Which commands there are, in the order of `trunkcall --help`, and how a command line runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from trunkcall import __version__
from trunkcall.cli.commands import chat, keys, models, old, server, settings, upkeep, watching
from trunkcall.cli.output import close_pipe, complain, complain_of_bug
from trunkcall.core.errors import ServingError

# Without rich_markup_mode=None the help alone imports rich: 0.1 s.
app = typer.Typer(
    name="trunkcall",
    help="One system that serves language models: any client protocol in, any engine or upstream behind.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command()(server.up)
app.command()(server.down)
app.command()(server.status)
app.command()(watching.requests)
app.command()(watching.logs)
app.command()(watching.top)
app.command()(server.reload)
app.command()(models.pull)
app.command()(chat.chat)
app.command()(watching.usage)
app.command()(upkeep.backup)
app.command()(upkeep.restore)
app.command(
    "as",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)(old.run_as)
app.command()(old.takeover)
app.command()(upkeep.doctor)
app.command()(upkeep.version)
app.add_typer(models.app, name="models")
app.add_typer(settings.app, name="config")
app.add_typer(keys.app, name="keys")


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
