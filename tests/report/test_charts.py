"""Chart specs: content, consistent colours, and safe JSON in a script element."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("altair")

from flipkd.comparison.systems import SYSTEMS
from flipkd.report import charts, curves
from flipkd.report.comparison import paired_differences


def layers(spec):
    return spec.get("layer", [spec])


def data(spec):
    """All rows of a spec, whichever layer they belong to."""
    return [row for values in spec["datasets"].values() for row in values]


def scale(spec, channel):
    found = [layer["encoding"][channel]["scale"] for layer in layers(spec) if channel in layer["encoding"]]
    assert all(one == found[0] for one in found)
    return dict(zip(found[0]["domain"], found[0]["range"], strict=True))


def test_forest_draws_one_line_per_name_in_points(make_comparison):
    comparison = make_comparison(["plain", "teacher", ("minus_mcl", "flipped"), "flipped"])
    rows = paired_differences(comparison, against="plain")
    spec = charts.forest(rows, charts.systems_of(comparison, comparison.names))
    shown = [row for row in data(spec) if "name" in row]
    assert [row["name"] for row in shown] == ["teacher", "minus_mcl", "flipped"]
    assert shown[2]["difference"] == pytest.approx(100 * rows[2]["f1"]["difference"])
    assert shown[2]["low"] < shown[2]["difference"] < shown[2]["high"]
    colours = scale(spec, "color")
    assert colours["minus_mcl"] == colours["flipped"] == SYSTEMS["flipped"].colour
    assert spec["width"] == "container"


def test_charts_use_one_colour_per_system(make_comparison):
    comparison = make_comparison(["tfidf", "plain"], n=100)
    runs = comparison.runs[:2]
    systems = charts.systems_of(comparison, ["tfidf", "plain"])
    curve, operating = curves.precision_recall(comparison, runs)
    rows = [{"name": name, "cells": [{"f1": 0.5}, {"f1": None}]} for name in systems]
    specs = [
        charts.precision_recall(curve, operating, systems, base_rate=0.5),
        charts.reliability(curves.reliability(comparison, runs), systems),
        charts.by_length(["1–2", "3–4"], rows, systems),
    ]
    expected = {name: SYSTEMS[name].colour for name in systems}
    assert [scale(spec, "color") for spec in specs] == [expected] * 3
    assert scale(specs[0], "strokeDash") == {"tfidf": charts.DASH, "plain": [1, 0]}
    assert [row["quarter"] for row in data(specs[2])] == ["1–2", "1–2"]


def test_distribution_and_agreement_specs(make_comparison):
    comparison = make_comparison(["teacher_finetuned", "flipped"])
    teacher, student = comparison.runs[:2]
    spec = charts.distribution(*curves.distribution(comparison, student))
    assert [row for row in data(spec) if "class" not in row] == [
        {"start": curves.distribution(comparison, student)[1]}
    ]
    spec = charts.agreement(curves.agreement(comparison, student, teacher)[0])
    assert set(scale(spec, "color")) == set(scale(spec, "shape")) == {row["class"] for row in data(spec)}


def test_as_json_is_safe_in_a_script_element():
    spec = {"name": "</script><script>alert(1)</script><!-- & \u2028 é"}
    text = charts.as_json(spec)
    assert json.loads(text) == spec
    assert text.isascii()
    assert not set(text) & set("<>&")
    with pytest.raises(ValueError, match="Out of range float"):
        charts.as_json({"a": float("nan")})
