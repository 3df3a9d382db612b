"""Tiny random models (decoders of three families, encoders) with a real byte-level tokenizer, and pairs; in a second."""

from __future__ import annotations

FAMILIES = ("qwen2", "llama", "gemma3")
# Each family and each reading, gemma3 in all: its norms, windows and scaled embeddings are what a reading may get wrong.
FAMILY_AND_READING = (
    ("gemma3", "joint"),
    ("gemma3", "separate"),
    ("gemma3", "blocked"),
    ("qwen2", "separate"),
    ("llama", "blocked"),
)
SENTENCES = [
    "how do I reset my card pin",
    "my card was stolen yesterday",
    "where is my transfer",
    "please close my account",
    "what is the exchange rate today",
    "the machine kept my card",
    "I was charged a fee twice",
    "can I change the pin of my card",
]


def build_tokenizer():
    """A byte-level BPE trained on a handful of sentences; every text round-trips, ` yes` and ` no` are one token each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3 + ["answer yes or no: yes no yes no"] * 20, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    fast.add_tokens(["<think>"])  # an added token that is not special, as Qwen has
    return fast


def build_model(family: str, *, vocabulary: int, layers: int = 3, seed: int = 0):
    """A random decoder of width 32 with untied scales large enough that its answers differ between pairs."""
    import torch
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    shape = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(seed)
    if family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    elif family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape))
    else:
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, head_dim=8, sliding_window=384, query_pre_attn_scalar=8))
    return model.eval()


def student_config(base, **settings):
    """Settings of a student over the tiny model in `base`: float32, short texts, small LoRA."""
    from flipkd.config import StudentConfig

    small = {"dtype": "float32", "max_text_length": 16, "lora_r": 4, "lora_alpha": 8, "readout_r": 12}
    return StudentConfig.check({"model_name_or_path": str(base), **small, **settings})


ENDINGS = ("now", "please", "again", "today")


def make_table(n: int = 48, seed: int = 0):
    """Half of the pairs have the same beginning (match); the teacher's vectors know beginnings, with noise."""
    import numpy as np

    from flipkd.data.pair_table import PairTable, TeacherSignal

    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(SENTENCES), 8))
    left, right, label, vectors = [], [], [], ([], [])
    for row in range(n):
        i = random.integers(len(SENTENCES))
        j = i if row % 2 else (i + 1 + random.integers(len(SENTENCES) - 1)) % len(SENTENCES)
        for side, texts, k in ((0, left, i), (1, right, j)):
            texts.append(f"{SENTENCES[k]} {ENDINGS[random.integers(len(ENDINGS))]}")
            vector = centres[k] + 0.4 * random.normal(size=8)
            vectors[side].append(vector / np.linalg.norm(vector))
        label.append(int(i == j))
    signal = TeacherSignal(left=np.array(vectors[0], np.float32), right=np.array(vectors[1], np.float32))
    return PairTable(left=left, right=right, label=np.array(label, np.int64), teacher=signal)


def build_encoders(folder):
    """A SentenceTransformer in `folder/bi` and a CrossEncoder in `folder/cross`, with the same random BERT inside."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 64
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
        num_labels=1,
    )
    torch.manual_seed(0)
    for name, model in (("bert", BertModel(config)), ("cross", BertForSequenceClassification(config))):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    modules = [Transformer(str(folder / "bert")), Pooling(16, pooling_mode="mean")]
    model = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "q: "}, default_prompt_name="query")
    model.save_pretrained(str(folder / "bi"), create_model_card=False)


def write_pairs(path, table):
    """A csv of the pairs of `make_table`, with a score that knows the label and is a function of the pair."""
    import csv

    score = [0.7 * y + 0.01 * (len(a) - len(b)) for a, b, y in zip(table.left, table.right, table.label, strict=True)]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text1", "text2", "label", "score"])
        writer.writerows(zip(table.left, table.right, table.label, score, strict=True))
    return path


def randomise(student, seed=1):
    """Give B values, as training would: at B = 0 adapters change nothing and half of the tests would be empty."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return student
