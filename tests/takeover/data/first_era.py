"""An executor of the first generation: __init__ expects arguments, llm_compute takes the whole form."""

import json

from kuwa.executor import LLMExecutor


class Plain(LLMExecutor):
    executor_path = "/old"

    def __init__(self):
        super().__init__()
        self.repeat = self.args.repeat

    def extend_arguments(self, parser):
        parser.add_argument("--repeat", type=int, default=1)

    def setup(self):
        if not self.LLM_name:
            self.LLM_name = "plain"

    async def llm_compute(self, data):
        history = json.loads(data.get("input"))
        fields = sorted(key for key, _ in data.items())
        yield f"{history[-1]['msg'] * self.repeat} {fields} {data['name']} {data.get('missing', 'none')}"


if __name__ == "__main__":
    Plain().run()
