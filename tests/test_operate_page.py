"""docs/operate.md against the program: its commands, flags, settings and links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from trunkcall import reload
from trunkcall.cli.commands.root import app
from trunkcall.config import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operate.md"
TEXT = PAGE.read_text()
COMMANDS = sorted(
    {
        found.strip()
        for found in re.findall(r"(?<![\w/.-])trunkcall ((?:[a-z]+ )?[a-z]+(?: [^`#&|\n)]*)?)(?=[`#&|\n)])", TEXT)
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_shown_exists(line: str) -> None:
    command: Any = get_command(app)
    words = shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert command.name != "trunkcall", f"no command {line}"
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        assert not word.startswith("-") or word in flags, f"{line}: {word}"


def test_enough_of_the_page_is_looked_at() -> None:
    assert {"reload", "top", "status"} <= set(COMMANDS)


def test_each_setting_is_said_when_it_takes_effect() -> None:
    section = TEXT[TEXT.index("| setting | takes effect |") : TEXT.index("## Logs")]
    rows = [line for line in section.splitlines() if line.startswith(("| `", "| cert"))]
    said = {name: row for row in rows for name in re.findall(r"`([a-z_]+)`", row.rsplit("|", 2)[0])}
    assert set(said) == set(Settings.__struct_fields__)
    waits = {name for name, row in said.items() if "after a restart" in row}
    assert waits == reload.FIXED


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()
