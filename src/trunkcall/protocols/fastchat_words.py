"""The words of FastChat that programs compare: error codes, routes of a worker and marks in texts."""

from typing import Final

PROTOCOL: Final = "fastchat"
"""Our name for it, as in Generate.extra."""

END: Final = b"\0"
"""Ends each object of a stream."""

OK: Final = 0
VALIDATION_FAILED: Final = 40001
INVALID_KEY: Final = 40101
INCORRECT_KEY: Final = 40102
NO_PERMISSION: Final = 40103
INVALID_MODEL: Final = 40301
OUT_OF_RANGE: Final = 40302
CONTEXT_OVERFLOW: Final = 40303
RATE_LIMIT: Final = 42901
QUOTA: Final = 42902
OVERLOADED: Final = 42903
INTERNAL: Final = 50001
OUT_OF_MEMORY: Final = 50002
GRADIO_REQUEST: Final = 50003
GRADIO_STREAM: Final = 50004
NO_WORKER: Final = 50005
WORKER_TIMEOUT: Final = 50006

NETWORK_ERROR: Final = "NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE."
"""What workers say before any cause, in bold; the cause follows in parentheses."""

GENERATE_STREAM: Final = "worker_generate_stream"
GENERATE: Final = "worker_generate"
EMBEDDINGS: Final = "worker_get_embeddings"
STATUS: Final = "worker_get_status"
COUNT_TOKEN: Final = "count_token"
CONV_TEMPLATE: Final = "worker_get_conv_template"
MODEL_DETAILS: Final = "model_details"

IMAGE: Final = "<image>"
"""Stands in a prompt where an image of the call belongs."""
