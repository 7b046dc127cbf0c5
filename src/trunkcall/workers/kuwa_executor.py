"""Custom executors of Kuwa: the names that their files import, and the program that runs such a file.

`python -m trunkcall.workers.kuwa_executor FILE.py ARGUMENT...`, or `-m MODULE` in place of the file.
"""

from trunkcall.protocols.kuwa import Modelfile, extract_last_url, rectify_chat_history, to_openai_chat_format
from trunkcall.workers.kuwa_classes import BaseExecutor, LLMExecutor
from trunkcall.workers.kuwa_parameters import (
    DescriptionParser,
    expose_function_parameter,
    merge_config,
    read_config,
)

__all__ = [
    "BaseExecutor",
    "DescriptionParser",
    "LLMExecutor",
    "Modelfile",
    "expose_function_parameter",
    "extract_last_url",
    "merge_config",
    "read_config",
    "rectify_chat_history",
    "to_openai_chat_format",
]

if __name__ == "__main__":
    from trunkcall.workers.kuwa_program import main

    main()
