"""`python FILE.py`: a user's own Kuwa executor, run in a child and served by the executor api of ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from trunkcall import machine
from trunkcall.core.models import ModelSettings, Source
from trunkcall.engines.kuwa_executor import KuwaExecutor
from trunkcall.takeover.kuwa_models import Chosen
from trunkcall.takeover.kuwa_serving import serve
from trunkcall.takeover.plan import Plan
from trunkcall.workers.kuwa_options import add_general_options, read_general

_HELP: Final = frozenset({"-h", "--help"})


def read(arguments: Sequence[str]) -> Plan:
    """The file, or the module after -m, as a server of ours; its own flags are left to it.

    Ends the process for wrong use; with --help behind the file the process goes on as the file, which has the words.
    """
    named = 2 if arguments[:1] == ["-m"] else 1
    parser = _parser()
    asked = parser.parse_args(arguments[:named])
    if asked.file is not None and not Path(asked.file).is_file():
        parser.error(f"there is no file {asked.file!r}")
    own = list(arguments[named:])
    chosen = _choose(asked, own)
    if _HELP & set(own):
        _become(chosen)
    general = argparse.ArgumentParser(prog=asked.file or asked.module, add_help=False, allow_abbrev=False)
    add_general_options(general)
    found, _ = general.parse_known_args(own)
    # Without --access_code it is the file that knows its codes.
    return serve(read_general(found), chosen, codes=())


def _choose(asked: argparse.Namespace, own: list[str]) -> Chosen:
    options: dict[str, Any] = {"args": own, "shown": True}
    if asked.module is not None:
        options["module"] = asked.module
        return Chosen(code=asked.module.rpartition(".")[2], source=Source("kuwa-executor"), options=options)
    file = Path(os.path.abspath(asked.file))
    return Chosen(code=file.stem, source=Source("kuwa-executor", str(file)), options=options)


def _become(chosen: Chosen) -> NoReturn:
    model = ModelSettings(name=chosen.code, sources=(chosen.source,), options=chosen.options)
    command = KuwaExecutor().plan(model, machine.look()).command
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python",
        usage="%(prog)s [-h] (FILE.py | -m MODULE) ...",
        description="Serves a file with a class derived from kuwa.executor.LLMExecutor.",
        epilog="`python FILE.py --help` shows the flags of the file.",
    )
    program = parser.add_mutually_exclusive_group(required=True)
    program.add_argument("file", nargs="?", metavar="FILE.py", help="the file; its flags come after it")
    program.add_argument("-m", dest="module", metavar="MODULE", help="a module in place of a file")
    return parser
