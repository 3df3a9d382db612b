"""The page of flipkd watch: the checks of each window, and their effects over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipkd.extras import require_extra
from flipkd.report.page import render_page
from flipkd.report.words import escape_invisible

COLUMNS = ("reference", "window", "effect", "p_adjusted")
ALARM, QUIET = "differs", "no difference"


def render(result: Mapping[str, Any]) -> str:
    """Render the result of flipkd watch as HTML. Raises ConfigError without the extra `report`."""
    require_extra("report", user="the report")
    from flipkd.report import charts

    windows = result["windows"]
    names = list(dict.fromkeys(check["name"] for window in windows for check in window["checks"]))
    rows = [
        {
            "window": escape_invisible(window["name"]),
            "check": check["name"],
            "effect": round(check["effect"], 5),
            "state": ALARM if check["alarm"] else QUIET,
        }
        for window in windows
        for check in window["checks"]
    ]
    specs = {name: charts.over_time([row for row in rows if row["check"] == name]) for name in names}
    values = {"result": result, "names": names, "columns": COLUMNS, "last": windows[-1]}
    return render_page("watch.html.j2", values, specs)
