"""An executor below LLMExecutor; it also uses the other modules of Kuwa."""

import kuwa.executor.util
from kuwa.executor.base_executor import BaseExecutor
from kuwa.executor.llm_executor import extract_last_url, rectify_chat_history, to_openai_chat_format
from kuwa.executor.modelfile import Modelfile


def sample(prompt: str, heat: float = 0.5, top: int | None = None):
    """What a model would do."""


class Raw(BaseExecutor):
    def extend_arguments(self, parser):
        self.generation = kuwa.executor.util.expose_function_parameter(sample, parser, defaults={"top": 3})

    async def serve(self, header, content):
        yield f"{header.get('Accept-Language')} {content['input']} "
        yield f"{self.args.heat} {self.generation} {self.in_debug()} {self.get_reg_endpoint()} "
        yield str(rectify_chat_history(to_openai_chat_format([{"isbot": False, "msg": None}])))
        yield str(Modelfile.from_json("[]").parameters) + str(extract_last_url([]))


if __name__ == "__main__":
    Raw().run()
