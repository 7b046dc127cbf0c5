"""A command line of TGI's launcher with its environment, read."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.text import did_you_mean
from trunkcall.protocols.tgi import NEWEST, Compat
from trunkcall.takeover.tgi_flags import ENGINE, FLAGS, GONE, GONE_FLAGS, KEY_VARIABLE, LIMITING, LIMITS, LISTENER

PROG: Final = "text-generation-launcher"
_INHERITED: Final = frozenset({"huggingface_hub_cache"})
"""Variables that the Hub's own library reads, by rules of its own."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A command line of the launcher with its environment, read.

    model: as it was written; port: 0 to 65535; key: the secret of the command line; key_variable: the variable that
    holds it instead; limits: those of LIMITS that were given; payload: bytes of a body; drain: seconds that running
    answers have at the end; words: what is for the engine, in the launcher's own words; written: by name, how a flag
    was given (`--dtype`, `DTYPE`), for people; gone: names in GONE that were given.
    """

    model: str
    revision: str = ""
    hostname: str
    port: int
    key: str = ""
    key_variable: str = ""
    origins: tuple[str, ...] = ()
    compat: Compat
    limits: dict[str, int] = {}
    payload: int
    json_output: bool = False
    drain: int
    grammar: bool = True
    prefill: bool = False
    words: dict[str, Any] = {}
    written: dict[str, str] = {}
    gone: tuple[str, ...] = ()
    environment: bool = False

    # The key is a secret.
    def __repr__(self) -> str:
        return f"Asked({self.model!r}, {self.hostname}:{self.port})"


def read_asked(arguments: Sequence[str], environ: Mapping[str, str]) -> Asked:
    """Read what stands behind the command, and the variables; ends the process for --help and wrong use."""
    parser = _parser()
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        word = unknown[0].partition("=")[0]
        parser.error(f"unrecognized argument {word}. {did_you_mean(word, [flag.flag for flag in FLAGS])}")
    given: dict[str, Any] = vars(found)
    written = {flag.name: flag.flag for flag in FLAGS if flag.name in given}
    for flag in FLAGS:
        text = environ.get(flag.environ, "").strip()
        if text and flag.name not in given and flag.name not in _INHERITED:
            try:
                given[flag.name] = [flag.read(text)] if flag.many else flag.read(text)
            except argparse.ArgumentTypeError as error:
                parser.error(f"the variable {flag.environ}: {error}")
            written[flag.name] = flag.environ
    if written.get("hostname") == "HOSTNAME" and not _is_address(given["hostname"]):
        # Containers have this variable from their engine: the name of the machine, not an address to listen on.
        del given["hostname"]
    if "max_input_tokens" in given and "max_input_length" in given:
        parser.error(
            f"{written['max_input_tokens']} and {written['max_input_length']} are one limit: leave the second out"
        )
    if "max_input_length" in given:
        given["max_input_tokens"] = given.pop("max_input_length")
        written["max_input_tokens"] = written.pop("max_input_length")
    switches = {flag.name for flag in FLAGS if flag.switch}
    given = {name: value for name, value in given.items() if value is not False or name not in switches}
    from_environment = written.get("api_key") == KEY_VARIABLE
    return Asked(
        model=given.get("model_id", "bigscience/bloom-560m"),
        revision=given.get("revision", ""),
        hostname=given.get("hostname", "0.0.0.0"),
        port=given.get("port", 3000),
        key="" if from_environment else given.get("api_key", ""),
        key_variable=KEY_VARIABLE if from_environment else "",
        origins=tuple(given.get("cors_allow_origin", ("*",))),
        compat=given.get("compat", NEWEST),
        limits={name: given[name] for name in LIMITS if name in given},
        payload=given.get("payload_limit", 2_000_000),
        json_output="json_output" in given,
        drain=given.get("graceful_termination_timeout", 90),
        grammar="disable_grammar_support" not in given,
        prefill="enable_prefill_logprobs" in given,
        words={flag.name: given[flag.name] for flag in ENGINE if flag.name in given},
        written=written,
        gone=tuple(name for name in GONE if name in given),
        environment=given.get("env", False),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage="%(prog)s [--model-id MODEL] [--port PORT] [flags of TGI]",
        description="Serves one model as TGI does: by vLLM where there are GPUs, else by what there is.",
        epilog="Each flag is read from the environment too, under its name in capitals: MODEL_ID for --model-id. "
        "The command line wins.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("-e", "--env", action="store_true", help="print what this machine has, and end")
    for title, flags in (
        ("listener", LISTENER),
        ("limits", LIMITING),
        ("model and engine", ENGINE),
        ("gone", GONE_FLAGS),
    ):
        group = parser.add_argument_group(title)
        for flag in flags:
            names = [name for name in (flag.short, flag.flag) if name]
            default = f" (default: {flag.default})" if flag.default else ""
            about = f"{flag.about}{default}".replace("%", "%%")
            if flag.switch:
                group.add_argument(*names, action="store_true", help=about)
            else:
                action = "append" if flag.many else "store"
                group.add_argument(*names, action=action, type=flag.read, metavar=flag.shown, help=about)
    return parser


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
