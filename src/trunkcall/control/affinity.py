"""What a call has in common with earlier ones: its conversation, and how its prompt begins."""

from __future__ import annotations

from trunkcall.control.calls import Call, GenerateCall
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Embed, Generate, MessagesPrompt, TextPart, TextPrompt, ThinkingPart, TokenPrompt


class Belonging:
    """Fits control.queue.Affinity; the request is decoded only when a policy needs what stands in it.

    named: the conversation, as a header says; otherwise: the caller, where nothing else tells one.
    """

    __slots__ = ("_call", "_named", "_otherwise", "_read")

    def __init__(self, call: Call, named: bytes | None, otherwise: str) -> None:
        self._call = call
        self._named = named
        self._otherwise = otherwise
        self._read: Generate | Embed | None = None

    def session(self) -> str:
        """The conversation by the header, or the request's own conversation or user, or the caller's key."""
        if self._named:
            return self._named.decode("latin-1")
        request = self._request()
        session = request.session if isinstance(request, Generate) else None
        user = request.user if request is not None and isinstance(request.user, str) else ""
        if session is None:
            return user or self._otherwise
        return session.conversation or session.user or user or self._otherwise

    def prompt(self) -> str | tuple[int, ...]:
        """The first prompt as text or tokens; empty when it cannot be read, which the replica will say."""
        request = self._request()
        if request is None:
            return ""
        if isinstance(request, Embed):
            return request.inputs[0] if request.inputs else ""
        match request.prompt:
            case MessagesPrompt(messages=messages):
                return "\n".join(
                    f"{message.role}: {part.text}" if isinstance(part, TextPart | ThinkingPart) else type(part).__name__
                    for message in messages
                    for part in message.parts
                )
            case TextPrompt(texts=texts):
                return texts[0] if texts else ""
            case TokenPrompt(prompts=prompts):
                return prompts[0] if prompts else ()

    def _request(self) -> Generate | Embed | None:
        if self._read is None:
            try:
                peek = self._call.peek if isinstance(self._call, GenerateCall) else None
                self._read = (peek or self._call.read)()
            except ServingError:
                return None
        return self._read
