"""Properties of a system by its kind."""

from __future__ import annotations

import pytest

from flipkd.report.system import System


@pytest.mark.parametrize(
    "kind, is_student, has_teacher",
    [
        ("baseline", False, False),
        ("teacher", False, True),
        ("untrained", True, False),
        ("labels", True, False),
        ("distilled", True, True),
        ("blend", False, False),
    ],
)
def test_system_is_student_and_has_teacher(kind, is_student, has_teacher):
    system = System(name="a", label="b", kind=kind)
    assert (system.is_student, system.has_teacher) == (is_student, has_teacher)
