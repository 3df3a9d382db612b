"""Tiny random teachers, built once, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = [f"{kind}{number}" for kind in ("loan", "card", "fee", "rate") for number in range(8)]


def tiny_tokenizer(extra: str | None = None):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, "query", ":", *WORDS, *([extra] if extra else [])])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    )


def tiny_config(**changes):
    from transformers import BertConfig

    settings = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "pad_token_id": 0,
        "initializer_range": 0.3,  # so that outputs of random weights differ visibly
    }
    return BertConfig(**{**settings, **changes})


@pytest.fixture(scope="session")
def make_bi_encoder(tmp_path_factory) -> Callable[..., Path]:
    """Write a tiny SentenceTransformer folder; the arguments are the differences from the default."""
    made: dict[str, Path] = {}

    def make(*, seed: int = 0, extra: str | None = None, prompt: str | None = None, pooling: str = "mean") -> Path:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
        from transformers import BertModel

        key = repr((seed, extra, prompt, pooling))
        if key not in made:
            folder = tmp_path_factory.mktemp("bi-encoder")
            torch.manual_seed(seed)
            BertModel(tiny_config()).save_pretrained(folder / "bert")
            tiny_tokenizer(extra).save_pretrained(folder / "bert")
            model = SentenceTransformer(
                modules=[Transformer(str(folder / "bert")), Pooling(16, pooling_mode=pooling)],
                device="cpu",
                prompts={"query": prompt} if prompt else None,
                default_prompt_name="query" if prompt else None,
            )
            model.save_pretrained(str(folder / "model"), create_model_card=False)
            made[key] = folder / "model"
        return made[key]

    return make


@pytest.fixture(scope="session")
def cross_encoder_folder(tmp_path_factory) -> Path:
    import torch
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    torch.manual_seed(0)
    BertForSequenceClassification(tiny_config(num_labels=1)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def learnable():
    """96 pairs; the label is 1 if both texts have the same of 4 topics."""
    from datasets import Dataset

    rows = []
    for i in range(96):
        left, shift = WORDS[(i * 7) % 32], (0 if i % 2 else 8 * (1 + (i // 2) % 3))
        right = WORDS[((i * 7) % 32 // 8 * 8 + shift) % 32 + (i * 5) % 8]
        rows.append({"text1": left, "text2": right, "label": i % 2})
    return Dataset.from_list(rows)
