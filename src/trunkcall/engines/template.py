"""The option `template`: a chat template as text, or the file that it stands in."""

from __future__ import annotations

from pathlib import Path

from trunkcall.core.errors import ServingError


def template_text(option: str) -> str:
    """The template; a value without braces is a path. Empty for an empty one.

    Raises ServingError (bad_request) for a file that cannot be read.
    """
    if not option or "{" in option:
        return option
    path = Path(option).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(
            "bad_request", f"option template: {path} cannot be read as a template: {error}", param="template"
        ) from error
