"""Python's regular expressions as llguidance's dialect of Lark writes them."""

from __future__ import annotations

import re
import unicodedata
import warnings
from typing import Final

from trunkcall.core.errors import ServingError

_COUNT: Final = re.compile(r"\{(?:([0-9]+)(,?)([0-9]*)|,([0-9]*))\}")
_HEAD: Final = re.compile(r"\(\?(?:P<\w+>|([a-zA-Z-]*)([:)])|(P=|P>|<[=!]|[=!>(#]))")
_NUMBER: Final = re.compile(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{([^}]*)\}|0[0-7]{0,2}|[0-3][0-7]{2}")
_OCTAL: Final = re.compile(r"[0-7]{1,3}")
_CONTROLS: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_KINDS: Final = frozenset("dDwWsS")
_FLAGS: Final = frozenset("isu-")
_PLAIN: Final = frozenset(" _<>\"'=,:;@%!`")
_DEEPEST: Final = 100
"""Groups in groups; the engine reads twice as many."""
_SURROGATES: Final = range(0xD800, 0xE000)


def lark_regex(source: str) -> str:
    """A terminal that a whole answer matches.

    An engine answers as it likes where it cannot read its grammar, so only what it surely reads is written.

    Raises ServingError: bad_request for what is no regular expression, unsupported for what no answer can be held to,
    such as looking around.
    """
    with warnings.catch_warnings():
        # Of what another dialect would read in it.
        warnings.simplefilter("ignore")
        try:
            re.compile(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise ServingError("bad_request", f"{error}; correct the regular expression") from None
    return f"/{_Reading(source).written() or '()'}/"


class _Group:
    """begins: nothing of the answer stands before it; anchored, ended: a mark of its beginning, of its end is in it."""

    __slots__ = ("anchored", "begins", "ended")

    def __init__(self, begins: bool) -> None:
        self.begins = begins
        self.anchored = False
        self.ended = False


class _Reading:
    """One pass over an expression that Python reads; lazy and greedy are the same to a whole answer."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._first = True
        self._over = False
        self._closed: _Group | None = None
        self._groups = [_Group(begins=True)]
        self._made: list[str] = []

    def written(self) -> str:
        """The expression in the engine's dialect."""
        while self._at < len(self._source):
            char = self._source[self._at]
            match char:
                case "(":
                    self._open()
                case ")":
                    self._close()
                case "|":
                    self._groups[-1].ended |= self._over
                    self._first, self._over = self._groups[-1].begins, False
                    self._say("|")
                case "^":
                    if not self._first:
                        raise _unsupported("^")
                    self._groups[-1].anchored = True
                    self._at += 1
                case "$":
                    self._over = True
                    self._groups[-1].anchored = True
                    self._at += 1
                case "*" | "+" | "?":
                    self._repeat(char, char)
                case "{" if count := _COUNT.match(self._source, self._at):
                    least, comma, most, only = count.groups()
                    self._repeat(count[0], f"{{{least or 0}{comma if least else ','}{most or only or ''}}}")
                case _:
                    self._atom(char)
        return "".join(self._made)

    def _say(self, text: str, taken: int = 1) -> None:
        self._made.append(text)
        self._at += taken

    def _open(self) -> None:
        head = _HEAD.match(self._source, self._at)
        if head is None or head[0].startswith("(?P<"):
            self._begin_group("(", 1 if head is None else len(head[0]))
            return
        flags, end, special = head.groups()
        if special == "#":
            self._at = self._source.index(")", self._at) + 1
            return
        if special is not None or not _FLAGS.issuperset(flags):
            raise _unsupported(head[0])
        kept = flags.replace("u", "").rstrip("-")
        if end == ":":
            self._begin_group(f"(?{kept}:", len(head[0]))
        else:
            self._say(f"(?{kept})" if kept else "", len(head[0]))

    def _begin_group(self, head: str, taken: int) -> None:
        if len(self._groups) > _DEEPEST:
            raise _unsupported(f"more than {_DEEPEST} groups in one another")
        self._not_over()
        self._groups.append(_Group(self._first))
        self._closed = None
        self._say(head, taken)

    def _close(self) -> None:
        group = self._groups.pop()
        self._over |= group.ended
        self._groups[-1].anchored |= group.anchored
        self._first = False
        self._closed = group
        self._say(")")

    def _repeat(self, read: str, written: str) -> None:
        if self._closed is not None and self._closed.anchored:
            raise _unsupported("^ or $ in what is repeated")
        self._say(written, len(read))
        after = self._source[self._at : self._at + 1]
        if after == "+":
            raise _unsupported(f"{read}+")
        self._at += after == "?"

    def _atom(self, char: str) -> None:
        self._not_over()
        self._first = False
        self._closed = None
        if char == "[":
            self._made.append(self._set())
        elif char == "\\" and self._source[self._at + 1] in _KINDS:
            self._say(self._source[self._at : self._at + 2], 2)
        elif char == ".":
            self._say(".")
        else:
            self._made.append(_literal(self._character(inside=False)))

    def _not_over(self) -> None:
        if self._over:
            raise _unsupported("$")

    def _set(self) -> str:
        self._at += 1
        made = ["["]
        if self._source[self._at] == "^":
            made.append("^")
            self._at += 1
        begin = self._at
        while self._source[self._at] != "]" or self._at == begin:
            if self._source[self._at] == "\\" and self._source[self._at + 1] in _KINDS:
                made.append(self._source[self._at : self._at + 2])
                self._at += 2
                continue
            made.append(_literal(self._character(inside=True)))
            if self._source[self._at] == "-" and self._source[self._at + 1] != "]":
                self._at += 1
                made.append(f"-{_literal(self._character(inside=True))}")
        self._at += 1
        return "".join((*made, "]"))

    def _character(self, *, inside: bool) -> str:
        """The one that stands here, written out or escaped; inside: a set."""
        source = self._source
        char = source[self._at]
        self._at += 1
        if char != "\\":
            return char
        number = (_OCTAL if inside else _NUMBER).match(source, self._at) or _NUMBER.match(source, self._at)
        if number is not None:
            self._at = number.end()
            return _numbered(number)
        char = source[self._at]
        self._at += 1
        if inside and char == "b":
            return "\b"
        if char.isdigit() or char in "AbBZ":
            raise _unsupported(f"\\{char}")
        return _CONTROLS.get(char, char)


def _numbered(number: re.Match[str]) -> str:
    text = number[0]
    if text[0] == "N":
        return unicodedata.lookup(number[1])
    return chr(int(text[1:], 16) if text[0] in "xuU" else int(text, 8))


def _literal(char: str) -> str:
    if ord(char) in _SURROGATES:
        raise _unsupported("half a surrogate pair")
    if char.isalnum() or char in _PLAIN or (char > "\x7f" and char.isprintable()):
        return char
    return f"\\{char}" if "!" <= char <= "~" else f"\\x{{{ord(char):X}}}"


def _unsupported(part: str) -> ServingError:
    return ServingError("unsupported", f"no answer can be held to `{part}`; write the expression without it")
