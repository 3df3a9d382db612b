"""Gauges: read back by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from flipkd.watch.gauges import gauges

CHECK = {"name": "score", "effect": 0.25, "p_adjusted": 0.001, "alarm": True}
QUALITY = {"ece": 0.1, "brier_score": 0.2}


def read(**window):
    result = {
        "time": "1970-01-01T00:01:40+00:00",
        "alarms": [{"window": "all", "check": "score"}],
        "windows": [
            {"rows": 1, "checks": [], "labels": None},
            {"rows": 7, "checks": [CHECK], "labels": None} | window,
        ],
    }
    samples = [one for family in text_string_to_metric_families(gauges(result).decode()) for one in family.samples]
    return {(one.name.removeprefix("flipkd_watch_"), one.labels.get("check")): one.value for one in samples}


def test_gauges_are_those_of_the_last_window():
    assert read() == {
        ("alarms", None): 1,
        ("rows", None): 7,
        ("time_seconds", None): 100,
        ("alarm", "score"): 1,
        ("effect", "score"): 0.25,
        ("p_adjusted", "score"): 0.001,
    }


def test_labels_have_their_gauges():
    found = read(labels=QUALITY)
    assert (found["ece", None], found["brier_score", None]) == (0.1, 0.2)
