"""The table of formats: it agrees with the settings, its modules have the three functions, unknown names are refused."""

from __future__ import annotations

import inspect

import pytest

from flipkd.command_config import ExportConfig
from flipkd.errors import ConfigError
from flipkd.exports.formats import BOUNDS, DTYPES, EXACT, FORMATS, ROUNDED, export_format
from flipkd.extras import EXTRAS
from flipkd.settings import type_members


def test_the_settings_have_the_formats_and_dtypes_of_the_table():
    assert type_members(ExportConfig.model_fields["to"].annotation) == list(FORMATS)
    assert set(type_members(ExportConfig.model_fields["dtype"].annotation)) >= set(DTYPES)


@pytest.mark.parametrize("name", FORMATS)
def test_a_module_has_refusal_write_and_load(name):
    chosen = FORMATS[name]
    functions = chosen.functions()
    assert list(inspect.signature(functions.refusal).parameters) == ["contract", "config"]
    assert list(inspect.signature(functions.write).parameters) == ["source", "folder"]
    assert list(inspect.signature(functions.load).parameters) == ["folder", "record", "base_model"]
    assert chosen.extra is None or chosen.extra in EXTRAS
    assert set(chosen.dtypes) <= set(chosen.bounds)


def test_export_format_refuses_an_unknown_name():
    assert export_format("merged") is FORMATS["merged"]
    with pytest.raises(ConfigError, match="'merge' is unknown; did you mean 'merged'"):
        export_format("merge")


def test_bounds_of_a_base_of_four_bits_are_those_of_sixteen(make_student):
    chosen, contract = FORMATS["merged"], make_student()[1]
    assert chosen.bounds_of("float32", contract) is EXACT
    assert chosen.bounds_of("bfloat16", contract) is BOUNDS["bfloat16"]
    assert chosen.bounds_of("float32", contract.model_copy(update={"load_in_4bit": True})) is ROUNDED
