"""Source: the names of a base model, the contract without paths, and the merged model."""

from __future__ import annotations

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.exports.source import Source, base_location, public_contract, require_dtype
from flipkd.matcher import Matcher


def test_public_contract_has_no_path(make_student):
    contract = make_student("llama")[1]
    assert "/" in contract.base_model_name_or_path
    assert public_contract(contract, None).base_model_name_or_path == "llama"
    assert public_contract(contract, "someone/tiny").base_model_name_or_path == "someone/tiny"


def test_require_dtype_has_the_matchers_as_default(make_student):
    contract = make_student()[1]
    assert require_dtype(None, contract, ("float32",)) == "float32"
    assert require_dtype(None, contract, ("float16", "int8")) == "float16"
    assert require_dtype("bfloat16", contract, ("float32", "bfloat16")) == "bfloat16"
    with pytest.raises(ConfigError, match="'float16', which this format does not have; allowed: float32"):
        require_dtype("float16", contract, ("float32",))


def test_the_merged_model_is_rounded_once(tiny_matcher):
    exact = Source(Matcher.from_pretrained(tiny_matcher()), tiny_matcher(), "float32").merged_model()
    rounded = Source(Matcher.from_pretrained(tiny_matcher()), tiny_matcher(), "bfloat16").merged_model()
    assert rounded.config.dtype == rounded.dtype == torch.bfloat16
    assert exact.config.use_cache
    pairs = zip(exact.parameters(), rounded.parameters(), strict=True)
    assert all(torch.equal(a.to(torch.bfloat16), b) for a, b in pairs)
    assert not any("lora" in name for name, _ in exact.named_parameters())


def test_base_location_is_a_given_folder_or_an_id_where_the_folder_is_gone(make_student, base_models, tmp_path):
    contract = make_student("llama")[1]
    gone = contract.model_copy(update={"base_model_name_or_path": str(tmp_path / "gone")})
    assert base_location(None, contract) is None
    assert base_location("someone/tiny", contract) is None
    assert base_location(str(base_models["llama"]), contract) == str(base_models["llama"])
    assert base_location("someone/tiny", gone) == "someone/tiny"
