"""Records of systems: what a record must hold, and how a blend gets one."""

from __future__ import annotations

import pytest

from flipkd.comparison.systems import BLENDS, SYSTEMS, system_called


def test_every_system_has_a_colour_and_a_label_of_its_own():
    systems = [*SYSTEMS.values(), *map(system_called, BLENDS)]
    assert len({system.colour for system in systems}) == len(systems)
    assert all(system.label.endswith(".") for system in systems)
    assert len({system.label for system in SYSTEMS.values()}) == len(SYSTEMS)


def test_systems_are_compared_with_systems_that_a_sentence_can_name():
    for system in SYSTEMS.values():
        assert all(system_called(name).in_a_sentence for name in system.compared_with)


def test_a_system_called_by_an_unknown_name_is_a_key_error():
    assert system_called("tfidf") is SYSTEMS["tfidf"]
    assert system_called("any+names").kind == "blend"
    with pytest.raises(KeyError):
        system_called("plane")
