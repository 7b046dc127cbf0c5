"""What FastChat's own statistics make of a log of its web servers, for the Python that has it: `… FILE` prints JSON."""

from __future__ import annotations

import json
import sys
import warnings
from unittest.mock import MagicMock

# What draws its charts is not installed with it.
for absent in ("plotly", "plotly.express", "plotly.graph_objects", "plotly.subplots"):
    sys.modules[absent] = MagicMock()
warnings.simplefilter("ignore")

import pandas  # noqa: E402  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
from fastchat.serve.monitor import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    basic_stats,
    clean_battle_data,
    elo_analysis,
)

# It asks a package that is not installed with it either.
clean_battle_data.detect_language = lambda text: "English"

(file,) = sys.argv[1:]
rows = basic_stats.load_log_files(file)
battles = clean_battle_data.clean_battle_data([file], [])
ratings = elo_analysis.compute_elo(pandas.DataFrame(battles))
print(json.dumps({"rows": rows, "battles": battles, "ratings": dict(ratings)}))
