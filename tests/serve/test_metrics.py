"""Figures for Prometheus."""


def test_a_thousand_odd_paths_make_no_more_series(null):
    null.ask("/odd")
    before = len(null.ask("/metrics").text.splitlines())
    for number in range(50):
        null.ask(f"/odd/{number}?text=secret{number}")
    after = null.ask("/metrics").text
    assert len(after.splitlines()) == before
    assert "secret" not in after
