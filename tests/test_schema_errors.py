"""What a message about a wrong value says should be there."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from flipkd.schema_errors import expected


class Example(BaseModel):
    number: int = Field(1, ge=0, lt=5)
    rate: float = Field(1.0, gt=0, allow_inf_nan=False)
    flag: bool | Literal["auto"] = "auto"
    name: str = Field("a", max_length=3, pattern="^a")
    many: list[int] = Field([1], min_length=1, max_length=2)
    table: dict[str, int] = {}


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("number", "x", "; write a whole number"),
        ("number", 1.5, "; write a whole number"),
        ("number", -1, "; write a number of at least 0"),
        ("number", 5, "; write a number below 5"),
        ("rate", None, "; write a number"),
        ("rate", 0, "; write a number above 0.0"),
        ("rate", float("nan"), "; write a finite number"),
        ("flag", "maybe", "; write true or false, or 'auto'"),
        ("name", 3, "; write a text in quotes"),
        ("name", "abcd", "; write a text of at most 3 characters"),
        ("name", "b", "; write a text that matches ^a"),
        ("many", 3, "; write a list, such as [a, b]"),
        ("many", [], "; write 1 or more values"),
        ("many", [1, 2, 3], "; write at most 2 values"),
        ("table", 3, "; write a mapping, such as {key: value}"),
    ],
)
def test_expected_says_what_to_write(name, value, message):
    with pytest.raises(ValidationError) as caught:
        Example.model_validate({name: value})
    assert expected(caught.value.errors()) == message


def test_expected_keeps_the_reason_of_a_check_of_our_own():
    assert expected([{"type": "value_error", "msg": "Value error, 3 is odd"}]) == ": 3 is odd"
