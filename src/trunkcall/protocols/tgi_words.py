"""The words of TGI that programs compare: its name in extras, reasons, error types and the beginnings of its errors."""

from typing import Final

PROTOCOL: Final = "tgi"
"""Our name for it, as in Generate.extra."""

LENGTH: Final = "length"
END: Final = "eos_token"
STOP: Final = "stop_sequence"

VALIDATION: Final = "validation"
GENERATION: Final = "generation"
OVERLOADED: Final = "overloaded"
INCOMPLETE: Final = "incomplete_generation"
INCOMPLETE_STREAM: Final = "incomplete_generation_stream"
UNHEALTHY: Final = "healthcheck"
TEMPLATE: Final = "template_error"
TOOL: Final = "tool_error"

BEGINNINGS: Final[dict[str, str]] = {
    VALIDATION: "Input validation error: ",
    GENERATION: "Request failed during generation: ",
    TEMPLATE: "Template error: ",
    TOOL: "Tool error: ",
}
"""By error type, what stands before the cause."""

IS_OVERLOADED: Final = "Model is overloaded"
IS_INCOMPLETE: Final = "Incomplete generation"
IS_INCOMPLETE_STREAM: Final = "Incomplete generation stream"
IS_UNHEALTHY: Final = "unhealthy"

MODEL: Final = "tgi"
"""What clients write as `model` who mean the one that is served."""
