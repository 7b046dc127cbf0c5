"""The words of Kuwa that programs compare: verdicts, fixed replies, bodies, names and the marks of a warning.

`NO_KEY_...` and their like stand in place of an answer; bodies are JSON texts.
"""

from typing import Final

PROTOCOL: Final = "kuwa"
"""Our name for it, as in Generate.extra."""

STREAM: Final = b"text/event-stream; charset=utf-8"
"""Of an answer, although it has no events: a kernel decodes text as Latin-1 when no charset is told."""

PREFIX: Final = "llm_"
"""Of parameters that are for the model; the rest of the name is OpenAI's, or an engine's."""

SUCCESS: Final = "Success"
FAILED: Final = "Failed"

READY: Final = "READY"
BUSY: Final = "BUSY"
NOMACHINE: Final = "NOMACHINE"

NO_KEY_OPENAI: Final = (
    "[Please enter your OpenAI API Token in the user settings on the website in order to use the model.]"
)
NO_KEY_GOOGLE: Final = (
    "[Please enter your Google API Token in the user settings of the website in order to use this model.]"
)
NO_KEY_THIRD_PARTY: Final = "[Please enter your Custom Third-Party API Token: this model answers only with one.]"
BAD_KEY_OPENAI: Final = "[Invalid OpenAI API Token, please check if the OpenAI API Token is correct.]"
NO_INPUT: Final = "[No input message entered]"
TOO_LONG: Final = "[Sorry, The input message is too long!]"
ERROR_OCCURRED: Final = "Error occurred. Please consult support."

EMPTY_REQUEST: Final = '{"msg":"Received empty request!"}'
BUSY_BODY: Final = '{"msg":"Processing another request."}'
ABORTED: Final = '{"msg":"Aborted"}'
NO_ABORT: Final = '{"msg":"No abort method configured"}'

WARNING_OPEN: Final = "<<<WARNING>>>"
WARNING_CLOSE: Final = "<<</WARNING>>>"
