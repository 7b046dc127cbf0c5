"""`fastchat.serve.cli`: a conversation in the terminal with a model that is loaded for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

from trunkcall.cli.output import complain
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, Message, Role, TextPart
from trunkcall.offline.batch import ready
from trunkcall.offline.embedded import Embedded
from trunkcall.offline.progress import starting
from trunkcall.offline.sampling import SamplingParams, chat, completion
from trunkcall.offline.stream import pieces
from trunkcall.protocols.fastchat import NEUTRAL, ConvTemplate, named, render
from trunkcall.takeover.fastchat_loading_flags import add_loading_flags, gone_notes, loaded_as
from trunkcall.takeover.fastchat_worker_flags import DEFAULT_MODEL, Asked, names_of
from trunkcall.takeover.fastchat_worker_serving import serve

_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}
_HELP: Final = "!!exit or an empty line ends; !!reset, !!remove, !!regen, !!save FILE, !!load FILE"


def run(arguments: Sequence[str]) -> int:
    """Load the model and converse; gives the exit code. Raises ServingError for a model that cannot be served."""
    asked = _parser().parse_args(arguments)
    (name,) = names_of((), asked.model_path)
    loaded = loaded_as(asked, asked.model_path, (name,), asked.conv_template)
    plan = serve("cli", Asked(host="127.0.0.1", port=0, limit=1), [loaded], gone_notes(asked))
    if plan.lacking:
        raise ServingError("unsupported", plan.lacking)
    for note in plan.notes:
        print(f"trunkcall: {note}", file=sys.stderr)
    model = plan.settings.models[name]
    template: str = plan.settings.listen[0].options["fastchat_worker"].get("templates", {}).get(name, "")
    embedded = Embedded(model)
    try:
        with starting(asked.model_path) as told:
            embedded.run(ready(embedded.dispatch, embedded.pool, told))
        return _Talk(embedded, name, named(template) if template else None, asked).go()
    finally:
        embedded.close()


class _Saved(msgspec.Struct):
    """A conversation as FastChat keeps it in a file."""

    template_name: str
    system_message: str
    roles: tuple[str, ...]
    messages: list[tuple[str, str | None]]
    offset: int = 0


class _Talk:
    """The turns so far, and what the words that begin with `!!` do to them."""

    def __init__(
        self, embedded: Embedded, model: str, template: ConvTemplate | None, asked: argparse.Namespace
    ) -> None:
        self._embedded = embedded
        self._model = model
        self._template = template
        self._asked = asked
        self._system: str = asked.conv_system_msg
        self._turns: list[tuple[str, str]] = []
        self._said = SamplingParams(
            temperature=asked.temperature,
            repetition_penalty=asked.repetition_penalty,
            max_tokens=asked.max_new_tokens,
            stop=_stops(template),
        )

    def go(self) -> int:
        """Converse until the user ends it; gives the exit code."""
        with suppress(ImportError):
            import_module("readline")  # gives input() its line editing
        if self._asked.style != "programmatic":
            print(f"{self._model}. {_HELP}", file=sys.stderr)
        while True:
            try:
                text = self._read()
            except (EOFError, KeyboardInterrupt):
                print()
                return 0
            if text in ("", "!!exit"):
                return 0
            try:
                self._take(text)
            except ServingError as error:
                complain(error)

    def _read(self) -> str:
        prompt = "" if self._asked.style == "programmatic" else "user: "
        lines = [input(prompt).strip()]
        while self._asked.multiline and lines[-1] and not lines[0].startswith("!!"):
            lines.append(input().strip())
        return "\n".join(lines).strip()

    def _take(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        match word:
            case "!!reset":
                self._turns.clear()
            case "!!remove":
                self._remove()
            case "!!regen":
                self._answer(self._remove())
            case "!!save":
                self._save(Path(rest.strip()))
            case "!!load":
                self._load(Path(rest.strip()))
            case _ if word.startswith("!!"):
                raise ServingError("bad_request", f"{word} is none of them. {_HELP}")
            case _:
                self._answer(text)

    def _remove(self) -> str:
        """Take back the last question and its answer; gives the question."""
        if not self._turns:
            raise ServingError("bad_request", "nothing was said yet")
        return self._turns.pop()[0]

    def _answer(self, question: str) -> None:
        said: list[str] = []
        with closing(pieces(self._embedded, self._request(question))) as answer:
            if self._asked.style != "programmatic":
                print("assistant: ", end="", flush=True)
            try:
                for piece in answer:
                    said.append(piece)
                    print(piece, end="", flush=True)
            except KeyboardInterrupt:
                print(" (stopped)", end="")
            finally:
                print(flush=True)
        self._turns.append((question, "".join(said).strip()))

    def _request(self, question: str) -> Generate:
        kept = [] if self._asked.no_history else self._turns
        messages = [{"role": "system", "content": self._system}] if self._system else []
        for asked, answered in (*kept, (question, "")):
            messages.append({"role": "user", "content": asked})
            if answered:
                messages.append({"role": "assistant", "content": answered})
        if self._template is None:
            return chat(self._model, messages, self._said, {})
        turns = tuple(Message(_ROLES[entry["role"]], (TextPart(entry["content"]),)) for entry in messages)
        return completion(self._model, render(self._template, turns), self._said)

    def _save(self, path: Path) -> None:
        template = self._template or NEUTRAL
        user, assistant = template.roles[:2]
        messages = [pair for question, answer in self._turns for pair in ((user, question), (assistant, answer))]
        saved = _Saved(template.name, self._system, template.roles, list(messages))
        _file(path).write_bytes(msgspec.json.format(msgspec.json.encode(saved)) + b"\n")

    def _load(self, path: Path) -> None:
        try:
            saved = msgspec.json.decode(_file(path).read_bytes(), type=_Saved)
        except msgspec.DecodeError as error:
            raise ServingError("bad_request", f"{path} is not a saved conversation: {error}") from None
        texts = [text or "" for _, text in saved.messages[saved.offset :]]
        self._turns = list(zip(texts[::2], texts[1::2], strict=False))
        self._system = saved.system_message or self._system
        for question, answer in self._turns:
            print(f"user: {question}\nassistant: {answer}")


def _file(path: Path) -> Path:
    if path == Path() or path.is_dir():
        raise ServingError("bad_request", "a FILE.json is missing after it")
    return path if path.suffix == ".json" else path.with_name(f"{path.name}.json")


def _stops(template: ConvTemplate | None) -> list[str]:
    if template is None or template.stop_str is None:
        return []
    return [template.stop_str] if isinstance(template.stop_str, str) else list(template.stop_str)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.cli", description="Chat with a model in the terminal.", epilog=_HELP
    )
    parser.add_argument("--model-path", "--model", default=DEFAULT_MODEL, help="a folder, a .gguf file, a hub name")
    parser.add_argument("--conv-template", default="", metavar="NAME", help="how the conversation is written")
    parser.add_argument("--conv-system-msg", default="", metavar="TEXT", help="what the model is told first")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--repetition_penalty", "--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--no-history", action="store_true", help="each question stands alone")
    parser.add_argument("--style", choices=("simple", "rich", "programmatic"), default="simple")
    parser.add_argument("--multiline", action="store_true", help="a question ends with an empty line")
    parser.add_argument("--mouse", action="store_true", help="accepted; the terminal's own mouse is used")
    parser.add_argument("--judge-sent-end", action="store_true", help="accepted; pieces are shown as they come")
    add_loading_flags(parser)
    return parser
