"""The chat template of the pocket model, and the same text for tools made in Python for the corpus."""

import json
from collections.abc import Iterable

# Each is one token of its own, so that a call costs few tokens.
TOOL_MARKS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
# Calls and results are written as Hermes and Qwen write them. A tool is listed as its name and its required parameters
# only: descriptions and schemas in full would be most of what such a small model has to read. transformers renders in a
# sandbox that forbids changing a list.
CHAT_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] + '\\n' }}
    {%- endif %}
    {{- '<tools>\\n' }}
    {%- for tool in tools %}
        {%- set function = tool['function'] %}
        {{- function['name'] + '(' }}
        {%- set schema = function['parameters'] or {} %}
        {%- set before = namespace(any=false) %}
        {%- for name in schema['properties'] or {} %}
            {%- if not schema['required'] or name in schema['required'] %}
                {{- ', ' if before.any }}{{- name }}
                {%- set before.any = true %}
            {%- endif %}
        {%- endfor %}
        {{- ')\\n' }}
    {%- endfor %}
    {{- '</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}
    {%- elif not (tools and loop.first and message['role'] == 'system') %}
        {{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') }}
        {%- for call in message['tool_calls'] or [] %}
            {{- '\\n' if message['content'] or not loop.first }}
            {{- '<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' }}
            {{- call['function']['arguments'] if call['function']['arguments'] is string else call['function']['arguments'] | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def tool_list(signatures: Iterable[str]) -> str:
    return "<tools>\n" + "".join(signature + "\n" for signature in signatures) + "</tools>"


def tool_call(name: str, arguments: dict[str, object]) -> str:
    return (
        '<tool_call>\n{"name": "'
        + name
        + '", "arguments": '
        + json.dumps(arguments, ensure_ascii=False)
        + "}\n</tool_call>"
    )


def tool_response(result: str) -> str:
    return f"<tool_response>\n{result}\n</tool_response>"
