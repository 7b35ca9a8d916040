"""JSON inside HTML."""

from __future__ import annotations

import json
from typing import Any


def script_json(value: Any) -> str:
    """JSON of figures and plain values that cannot end the script element it stands in."""
    from plotly.utils import PlotlyJSONEncoder

    text = json.dumps(value, cls=PlotlyJSONEncoder, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
