"""Records of systems: required fields, and the record of a blend."""

from __future__ import annotations

import pytest

from flipkd.comparison.systems import BLENDS, SYSTEMS, system_named


def test_systems_have_distinct_colours_and_labels():
    systems = [*SYSTEMS.values(), *map(system_named, BLENDS)]
    assert len({system.colour for system in systems}) == len(systems)
    assert all(system.label.endswith(".") for system in systems)
    assert len({system.label for system in SYSTEMS.values()}) == len(SYSTEMS)


def test_compared_with_names_systems_with_a_sentence_name():
    for system in SYSTEMS.values():
        assert all(system_named(name).in_a_sentence for name in system.compared_with)


def test_system_named_raises_key_error_for_an_unknown_name():
    assert system_named("tfidf") is SYSTEMS["tfidf"]
    assert system_named("any+names").kind == "blend"
    with pytest.raises(KeyError):
        system_named("plane")
