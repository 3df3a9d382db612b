"""RULES: values that a key of a model's file may have, and values that would choose code."""

from __future__ import annotations

import pytest

from flipkd.model_rules import MODULE, RULES, RULES_OF_FILES, known_model_type


@pytest.mark.parametrize(
    "rule, allowed, refused",
    [
        (RULES["trust_remote_code"], [None, False, {}], [True, "yes"]),
        (RULES["attn_implementation"], ["sdpa", None, {"text": "eager"}], ["somebody/kernel", {"text": "x/y"}]),
        (RULES["activation_fn"], [None, "gelu", "torch.nn.modules.activation.Tanh"], ["torch.load", 3]),
        (RULES["model_args"], [None, {"dtype": "float32"}], [{"dtype": {}}, {"weights_only": False}, 3]),
        (RULES["transformers_weights"], [None, "a.safetensors"], ["../a.safetensors", "a.bin"]),
        (MODULE, ["sentence_transformers.models.Pooling"], ["os.Pooling", "sentence_transformers.util.x", None]),
        (RULES_OF_FILES[r".*\.safetensors\.index\.json"]["weight_map"], [{"a": "b.safetensors"}], [{"a": "/b"}, []]),
        (known_model_type("llama"), [{"AutoModel": "x.Y"}], []),
        (known_model_type("yellow_bird"), [], [{"AutoModel": "x.Y"}]),
    ],
)
def test_rules_accept_plain_values_and_refuse_code(rule, allowed, refused):
    is_allowed, description = rule
    assert [value for value in allowed if not is_allowed(value)] == []
    assert [value for value in refused if is_allowed(value)] == []
    assert description
