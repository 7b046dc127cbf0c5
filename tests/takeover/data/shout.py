"""An executor of the second generation, as users write them."""

from kuwa.executor import LLMExecutor, Modelfile


class Shout(LLMExecutor):
    def __init__(self):
        super().__init__()

    def extend_arguments(self, parser):
        parser.add_argument("--mark", default="!", help="put at the end")

    def setup(self):
        self.stop = False

    async def llm_compute(self, history: list[dict], modelfile: Modelfile):
        self.stop = False
        for character in modelfile.override_system_prompt + history[-1]["content"].upper() + self.args.mark:
            if self.stop:
                break
            yield character

    async def abort(self):
        self.stop = True
        return "Stopped"


if __name__ == "__main__":
    executor = Shout()
    executor.run()
