"""A file that forgot to run its executor."""

from kuwa.executor import LLMExecutor


class Idle(LLMExecutor):
    async def llm_compute(self, history, modelfile):
        yield ""
