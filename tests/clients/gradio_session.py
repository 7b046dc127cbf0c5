"""A visitor of FastChat's web page, for the Python that has gradio_client: two questions, the second after the first."""

from __future__ import annotations

import json
import sys

from gradio_client import Client  # pyright: ignore[reportMissingImports]

url, model = sys.argv[1:]
page = Client(url, verbose=False)
page.predict({}, api_name="/load_demo")
listed = next(part["props"]["choices"] for part in page.config["components"] if part["type"] == "dropdown")
seen: list[int] = []
for question in ("What is the capital of France?", "What is the capital of Italy?"):
    page.predict(model, question, api_name="/add_text")
    job = page.submit(0.0, 1.0, 64, api_name="/bot_response_1")
    turns = job.result(timeout=120)
    seen.append(len(job.outputs()))
print(json.dumps({"listed": [name for name, _ in listed], "turns": turns, "pieces": seen}))
