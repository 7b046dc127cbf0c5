"""A visitor of FastChat's web page who votes, for the Python that has gradio_client: one answer, regenerated."""

from __future__ import annotations

import sys

from gradio_client import Client  # pyright: ignore[reportMissingImports]

url, model = sys.argv[1:]
page = Client(url, verbose=False)
page.predict({}, api_name="/load_demo")
page.predict(model, "What is the capital of France?", api_name="/add_text")
page.predict(0.0, 1.0, 64, api_name="/bot_response")
page.predict(model, api_name="/upvote_last_response")
page.predict(api_name="/regenerate")
page.predict(0.0, 1.0, 64, api_name="/bot_response_2")
page.predict(model, api_name="/flag_last_response")
