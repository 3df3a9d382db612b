"""adapter: peft loads it over a base that only the hub id names; without an id there is no adapter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import flipkd
from peft import PeftModel
from tiny_matchers import PAIRS, exported
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flipkd.errors import ConfigError
from flipkd.matcher import Matcher


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["gemma3", "llama", "qwen2"])
def test_peft_gives_the_scores_of_the_matcher(tiny_matcher, base_models, tmp_path, family):
    folder, out = tiny_matcher(family), tmp_path / "out"
    exported(folder, out, "adapter", base_model="someone/tiny")
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "someone/tiny"
    assert str(base_models[family]) not in "".join(file.read_text() for file in out.glob("*.json"))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_models[family]), out).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    batch = tokenizer(*map(list, zip(*PAIRS, strict=True)), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    last = logits[torch.arange(len(PAIRS)), batch["attention_mask"].sum(1) - 1]
    matcher = Matcher.from_pretrained(folder)
    no, yes = matcher.contract.label_ids
    np.testing.assert_allclose((last[:, yes] - last[:, no]).numpy(), matcher.predict(PAIRS), atol=1e-4)


def test_an_adapter_has_the_cosine_too(tiny_matcher, tmp_path):
    folder = tiny_matcher("llama", "separate", score={"answer": 0.5, "cosine": 2.0})
    result = exported(folder, tmp_path / "out", "adapter", base_model="someone/tiny")
    assert result["largest_difference"] < 1e-4
    assert any("answer and cosine" in limit for limit in result["limits"])


def test_an_adapter_needs_the_hub_id_of_its_base(tiny_matcher, tmp_path):
    with pytest.raises(ConfigError, match="give --base_model OWNER/NAME"):
        exported(tiny_matcher(), tmp_path / "out", "adapter")
    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_an_adapter(tiny_matcher, tmp_path):
    words = ("--matcher", tiny_matcher(), "--to", "adapter", "--output_dir", tmp_path / "out")
    done = flipkd("export", *words, "--base_model", "someone/tiny")
    assert done.code == 0, done.err
    assert "token ids equal" in done.out
