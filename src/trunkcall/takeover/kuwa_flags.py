"""The flags of each of Kuwa's built-in executors, of both of its generations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from trunkcall.takeover.kuwa_generation import Number, add_generation, add_pairs, add_stop
from trunkcall.workers.kuwa_options import add_general_options, new_parser

_OPENAI: Final = {
    "frequency_penalty": Number(float, "-2 to 2: how strongly frequent tokens are avoided"),
    "max_completion_tokens": Number(int, "most tokens of an answer, its reasoning included"),
    "max_tokens": Number(int, "most tokens of an answer"),
    "n": Number(int, "answers to each request"),
    "presence_penalty": Number(float, "-2 to 2: how strongly tokens that occurred are avoided"),
    "seed": Number(int, "makes sampling repeatable where the upstream can"),
    "temperature": Number(float, "how freely tokens are chosen; 0 takes the likeliest", 0.5, sent=True),
    "top_logprobs": Number(int, "accepted; answers in this protocol cannot carry probabilities"),
    "top_p": Number(float, "choose among the likeliest tokens of this total probability"),
    "timeout": Number(float, "seconds that the upstream may be silent"),
}
_LLAMACPP: Final = {
    "max_tokens": Number(int, "most tokens of an answer; None or -1: no limit"),
    "temperature": Number(float, "how freely tokens are chosen; 0 takes the likeliest", 0.8, sent=True),
    "top_p": Number(float, "choose among the likeliest tokens of this total probability", 0.95, sent=True),
    "min_p": Number(float, "drop tokens less likely than this share of the likeliest", 0.05, sent=True),
    "typical_p": Number(float, "locally typical sampling; 1.0 is off", 1.0),
    "logprobs": Number(int, "accepted; answers in this protocol cannot carry probabilities"),
    "frequency_penalty": Number(float, "how strongly frequent tokens are avoided", 0.0),
    "presence_penalty": Number(float, "how strongly tokens that occurred are avoided", 0.0),
    "repeat_penalty": Number(float, "divides the score of tokens that occurred; 1.0 is off", 1.0),
    "top_k": Number(int, "choose among so many of the likeliest tokens", 40, sent=True),
    "seed": Number(int, "makes sampling repeatable"),
    "tfs_z": Number(float, "tail-free sampling; 1.0 is off", 1.0),
    "mirostat_mode": Number(int, "Mirostat 1 or 2; 0 is off", 0),
    "mirostat_tau": Number(float, "Mirostat's target entropy", 5.0),
    "mirostat_eta": Number(float, "Mirostat's learning rate", 0.1),
}
_GEMINI: Final = {
    "candidate_count": Number(int, "answers to each request"),
    "max_output_tokens": Number(int, "most tokens of an answer"),
    "temperature": Number(float, "how freely tokens are chosen; 0 takes the likeliest"),
    "top_p": Number(float, "choose among the likeliest tokens of this total probability"),
    "top_k": Number(int, "choose among so many of the likeliest tokens"),
}


def new_executor_parser(executor: str) -> argparse.ArgumentParser:
    """The parser of `kuwa-executor EXECUTOR`; general options are read with workers.kuwa_options."""
    parser = new_parser(f"kuwa-executor {executor}")
    add_general_options(parser)
    _OWN[executor](parser)
    return parser


def _add_delay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before each character")


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _add_chatgpt(parser: argparse.ArgumentParser) -> None:
    _add_key(parser)
    parser.add_argument("--base_url", default="https://api.openai.com/v1", help="the upstream, with its /v1")
    parser.add_argument("--model", default="gpt-3.5-turbo", help="the upstream's name of the model")
    parser.add_argument("--context_window", type=_tokens, help="tokens of a conversation that are sent")
    _add_system_prompt(parser)
    parser.add_argument("--no_override_api_key", action="store_true", help="--api_key wins over a user's own key")
    parser.add_argument(
        "--use_third_party_api_key", action="store_true", help="take a user's third-party key, not the one for OpenAI"
    )
    _add_multimodal(parser)
    add_generation(parser, _OPENAI)


def _add_geminipro(parser: argparse.ArgumentParser) -> None:
    _add_key(parser)
    parser.add_argument("--model", default="gemini-1.0-pro", help="Google's name of the model")
    parser.add_argument("--limit", type=_tokens, default=30720, help="tokens of a conversation that are sent")
    _add_system_prompt(parser)
    _add_multimodal(parser)
    add_generation(parser, _GEMINI)


def _add_huggingface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model_path", help="a folder, or a model's name on the Hugging Face hub")
    _add_local(parser)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds between two tokens")
    parser.add_argument("--load_8bits", action="store_true", help="hold the weights in 8 bits")
    parser.add_argument("--trust_remote_code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--tokenizer", help="another tokenizer than the model's")
    parser.add_argument("--processor", help="another processor than the model's")
    add_generation(parser, {})
    add_stop(parser)
    add_pairs(parser)


def _add_llamacpp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model_path", help="the model, a .gguf file")
    parser.add_argument("--ngl", type=int, default=0, help="layers on the GPU; -1: all")
    # No default of 4096: the engine refuses more than the model was made for, which is often less.
    parser.add_argument("--context_window", type=_tokens, help="tokens of a conversation; None: 4096 at most")
    _add_local(parser)
    add_generation(parser, _LLAMACPP)
    add_stop(parser)


def _add_ollama(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ollama_host", help="where Ollama is; None: OLLAMA_HOST, else http://127.0.0.1:11434")
    parser.add_argument("--model", default="llama3", help="Ollama's name of the model")
    parser.add_argument("--context_window", type=_tokens, default=8192, help="tokens of a conversation")
    parser.add_argument("--limit", type=_tokens, default=7168, help="tokens of a conversation that are sent")
    _add_system_prompt(parser)
    add_generation(parser, {})
    add_pairs(parser)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api_key", help="the key for users who send none of their own")


def _add_local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--visible_gpu", help="GPUs that the engine may see, such as 0,1")
    parser.add_argument("--limit", type=_tokens, default=3072, help="tokens of a conversation that are sent")
    _add_system_prompt(parser)
    parser.add_argument("--override_chat_template", help="a Jinja template instead of the model's own chat template")


def _add_system_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system_prompt", help="what the model is told before each conversation")
    parser.add_argument("--no_system_prompt", action="store_true", help="leave --system_prompt out")


def _add_multimodal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--multimodal", action="store_true", help="send images along")


def _tokens(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tokens; give 1 or more")
    return number


_OWN: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "sysinfo": _add_nothing,
    "debug": _add_delay,
    "dummy": _add_delay,
    "geminipro": _add_geminipro,
    "chatgpt": _add_chatgpt,
    "huggingface": _add_huggingface,
    "llamacpp": _add_llamacpp,
    "ollama": _add_ollama,
}
