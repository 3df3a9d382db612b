"""Charts as Vega-Lite specs, made by altair from plain rows; a system has the same colour in all charts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from flipkd.report.comparison import Comparison
from flipkd.report.curves import CLASSES, Rows
from flipkd.report.system import System
from flipkd.report.words import escape_invisible

CLASS_COLOURS = {CLASSES[0]: "#d98b5f", CLASSES[1]: "#37306b"}
DASH = [5, 3]
INK, GRID = "#3b3b3b", "#e4e4e0"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def forest(rows: Sequence[dict[str, Any]], systems: dict[str, System]) -> dict[str, Any]:
    """Draw differences of F1 in points with their intervals, one line per name; 0 is the reference."""
    values = [
        {"name": escape_invisible(row["name"])} | {key: 100 * row["f1"][key] for key in ("difference", "low", "high")}
        for row in rows
    ]
    names = [value["name"] for value in values]
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=190, grid=False, ticks=False, domain=False))
    x = alt.X("low:Q", title="difference of F1, in points", axis=alt.Axis(tickCount=6))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        color=_colour({n: systems[n] for n in systems if n in names})
    )
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q")
    bars = base.mark_rule(strokeWidth=3).encode(y=y, x=x, x2="high:Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(y=y, x=alt.X("difference:Q"))
    return _finish_spec(zero + bars + dots, height=30 * len(names) + 10)


def precision_recall(curve: Rows, operating: Rows, systems: dict[str, System], *, base_rate: float) -> dict[str, Any]:
    """Draw precision-recall curves with operating points, and the precision of guessing as a dashed line."""
    x = _share(alt.X, "recall", "recall: share of the matches that are found")
    y = _share(alt.Y, "precision", "precision: share of the finds that are right")
    chance = _reference_line([{"recall": 0, "precision": base_rate}, {"recall": 1, "precision": base_rate}])
    lines = alt.Chart(alt.InlineData(values=_with_visible_names(curve))).mark_line(strokeWidth=1.8)
    dots = alt.Chart(alt.InlineData(values=_with_visible_names(operating))).mark_point(
        filled=True, size=80, opacity=1, stroke="white"
    )
    return _finish_spec(
        chance.encode(x=x, y=y)
        + lines.encode(x=x, y=y, order="recall:Q", color=_colour(systems), strokeDash=_dash(systems))
        + dots.encode(x=x, y=y, color=_colour(systems)),
        height=340,
    )


def reliability(rows: Rows, systems: dict[str, System]) -> dict[str, Any]:
    """Draw the share of matches by predicted probability; on the diagonal the two are equal."""
    x = _share(alt.X, "predicted", "probability of a match that was predicted")
    y = _share(alt.Y, "observed", "share that really match")
    diagonal = _reference_line([{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}])
    base = alt.Chart(alt.InlineData(values=_with_visible_names(rows))).encode(x=x, y=y, color=_colour(systems))
    lines = base.mark_line(strokeWidth=1.4, opacity=0.8).encode(order="predicted:Q")
    size = alt.Size("pairs:Q", legend=None, scale=alt.Scale(range=[15, 160]))
    return _finish_spec(
        diagonal.encode(x=x, y=y) + lines + base.mark_point(filled=True, opacity=0.9).encode(size=size), height=340
    )


def distribution(rows: Rows, threshold: float) -> dict[str, Any]:
    """Draw overlaid histograms of matches and of non-matches, and the threshold."""
    title, scale = "score, in standard deviations from the mean", alt.Scale(domain=[-3, 3])
    axis = alt.Axis(values=list(range(-3, 4)), grid=False)
    x = alt.X("start:Q", bin="binned", title=title, scale=scale, axis=axis)
    y = alt.Y("share:Q", title="share of the pairs", stack=None, axis=alt.Axis(format="%", tickCount=4))
    bars = alt.Chart(alt.InlineData(values=rows)).mark_bar(opacity=0.62)
    cut = alt.Chart(alt.InlineData(values=[{"start": threshold}]))
    cut = cut.mark_rule(color=INK, strokeDash=DASH, strokeWidth=1.5).encode(x=alt.X("start:Q", title=title))
    return _finish_spec(bars.encode(x=x, x2="end:Q", y=y, color=_class_channel("color")) + cut, height=180)


def agreement(rows: Rows) -> dict[str, Any]:
    """Draw the student's cosine against the teacher's score, one point per pair."""
    points = alt.Chart(alt.InlineData(values=rows)).mark_point(filled=True, size=22, opacity=0.55)
    chart = points.encode(
        x=alt.X("teacher:Q", title="the teacher's score", scale=alt.Scale(zero=False)),
        y=alt.Y("student:Q", title="the flipped student's cosine", scale=alt.Scale(zero=False)),
        color=_class_channel("color"),
        shape=_class_channel("shape"),
    )
    return _finish_spec(chart, height=360)


def by_length(quarters: Sequence[str], rows: Sequence[dict[str, Any]], systems: dict[str, System]) -> dict[str, Any]:
    """Draw F1 from the shortest to the longest quarter of the pairs, one line per name."""
    values = [
        {"name": escape_invisible(row["name"]), "quarter": quarter, "f1": round(cell["f1"], 4)}
        for row in rows
        for quarter, cell in zip(quarters, row["cells"], strict=True)
        if cell["f1"] is not None
    ]
    x = alt.X(
        "quarter:O", sort=list(quarters), title="characters of both texts", axis=alt.Axis(labelAngle=0, grid=False)
    )
    y = alt.Y("f1:Q", title="F1", scale=alt.Scale(zero=False))
    base = alt.Chart(alt.InlineData(values=values)).encode(x=x, y=y, color=_colour(systems))
    lines = base.mark_line(strokeWidth=1.8).encode(strokeDash=_dash(systems))
    return _finish_spec(lines + base.mark_point(filled=True, size=50, opacity=1), height=300)


def losses(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draw the loss of each objective over the training steps."""
    names = list(dict.fromkeys(escape_invisible(row["objective"]) for row in rows))
    values = [{**row, "objective": escape_invisible(row["objective"])} for row in rows]
    lines = alt.Chart(alt.InlineData(values=values)).mark_line(strokeWidth=1.8, point={"size": 14})
    scale = alt.Scale(domain=names, scheme="tableau10")
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=180)
    chart = lines.encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5)),
        y=alt.Y("value:Q", title="loss", scale=alt.Scale(zero=False)),
        color=alt.Color("objective:N", scale=scale, legend=legend),
    )
    return _finish_spec(chart, height=240)


def over_time(rows: Rows) -> dict[str, Any]:
    """Draw the effect of one check over the windows; a filled point is an alarm."""
    windows = [row["window"] for row in rows]
    x = alt.X("window:O", sort=windows, title=None, axis=alt.Axis(labelAngle=-45, labelLimit=80, grid=False))
    y = alt.Y("effect:Q", title="effect", axis=alt.Axis(tickCount=4))
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, y=y)
    fill = alt.condition("datum.state == 'differs'", alt.value("#a3290f"), alt.value("white"))
    points = base.mark_point(size=60, opacity=1, stroke="#a3290f").encode(fill=fill)
    return _finish_spec(base.mark_line(color=INK, strokeWidth=1.2) + points, height=140)


def systems_of(comparison: Comparison, names: Sequence[str]) -> dict[str, System]:
    """Return displayed name -> system, for colours and dashes."""
    return {escape_invisible(name): comparison.runs_of(name)[0].system for name in names}


def as_json(spec: dict[str, Any]) -> str:
    """Return JSON that is safe inside a script element: ASCII without `<`, `>` and `&`."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _share(channel: Any, field: str, title: str) -> Any:
    """Return an axis from 0 to 1."""
    return channel(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))


def _with_visible_names(rows: Rows) -> Rows:
    return [row | {"name": escape_invisible(row["name"])} for row in rows]


def _colour(systems: dict[str, System]) -> alt.Color:
    scale = alt.Scale(domain=list(systems), range=[system.colour for system in systems.values()])
    return alt.Color("name:N", scale=scale, legend=None)


def _dash(systems: dict[str, System]) -> alt.StrokeDash:
    dashes = [[1, 0] if system.trained else DASH for system in systems.values()]
    return alt.StrokeDash("name:N", scale=alt.Scale(domain=list(systems), range=dashes), legend=None)


def _class_channel(channel: str) -> Any:
    kind, values = (alt.Color, CLASS_COLOURS.values()) if channel == "color" else (alt.Shape, ("cross", "circle"))
    return kind("class:N", scale=alt.Scale(domain=list(CLASSES), range=list(values)), legend=None)


def _reference_line(ends: Rows) -> alt.Chart:
    chart: alt.Chart = alt.Chart(alt.InlineData(values=ends)).mark_line(color=INK, strokeDash=[2, 3], strokeWidth=1)
    return chart


def _finish_spec(chart: Any, *, height: Any) -> dict[str, Any]:
    chart = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    chart = chart.configure(font=FONT, aria=False, background="transparent").configure_view(stroke=None)
    chart = chart.configure_axis(
        gridColor=GRID,
        domainColor=INK,
        tickColor=INK,
        labelColor=INK,
        titleColor=INK,
        labelFontSize=12,
        titleFontSize=12,
        titleFontWeight="normal",
        titlePadding=8,
    ).configure_legend(labelColor=INK, labelFontSize=12)
    spec: dict[str, Any] = chart.to_dict()
    return spec
