"""An executor that does what its input says, and user code should not do."""

# ruff: noqa: ASYNC251
import asyncio
import sys
import threading
import time
from pathlib import Path

from kuwa.executor import LLMExecutor


class Trouble(LLMExecutor):
    def extend_arguments(self, parser):
        parser.add_argument("--at_setup", choices=("raise", "exit", "say", "thread", "hang"))
        parser.add_argument("--notes", type=Path)

    def setup(self):
        self.stopped = False
        self.thread = threading.get_ident()
        match self.args.at_setup:
            case "raise":
                raise OSError("no such weights")
            case "exit":
                sys.exit(7)
            case "say":
                sys.exit("the licence has run out")
            case "thread":
                threading.Thread(target=time.sleep, args=(600,)).start()
            case "hang":
                print("hanging")
                time.sleep(600)

    def note(self, text):
        with self.args.notes.open("a") as file:
            file.write(text + "\n")

    async def llm_compute(self, history, modelfile):
        assert threading.get_ident() == self.thread
        self.stopped = False
        try:
            match history[-1]["content"]:
                case "raise":
                    yield "so far"
                    raise ValueError("a secret place in the code")
                case "exit":
                    yield "so far"
                    sys.exit(3)
                case "exit in a task":
                    yield "so far"
                    await asyncio.create_task(self.leave())
                case "odd pieces":
                    for piece in (5, "", None, "é", "\ud800"):
                        yield piece
                case "nothing":
                    return
                case "flood":
                    for number in range(100_000):
                        print("line", number)
                    yield "flooded"
                case "blocking":
                    # No await at all: only what happens after a piece lets others in.
                    while not self.stopped:
                        time.sleep(0.005)
                        yield "."
                case "block":
                    yield "begun"
                    time.sleep(600)
                case "wait":
                    yield "begun"
                    await asyncio.sleep(600)
                case "stubborn":
                    yield "begun"
                    try:
                        await asyncio.sleep(600)
                    finally:
                        time.sleep(0.5)
                case "many":
                    for number in range(20_000):
                        yield f"{number},"
        finally:
            self.note("closed")

    async def leave(self):
        sys.exit(4)

    def abort(self):
        self.stopped = True
        self.note("aborted")
        return "Aborted"


if __name__ == "__main__":
    Trouble().run()
