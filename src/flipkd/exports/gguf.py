"""Format `gguf`: the language model with merged LoRA for llama.cpp; a pair is scored by the logits of the two label words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.errors import ConfigError
from flipkd.exports.answer_only import answer_limits, answer_refusal, blocked_refusal
from flipkd.exports.gguf_tokenizer import GgufTokenizer, gguf_tokenizer
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source
from flipkd.student.contract import ScoreContract
from flipkd.text import normal_text

MODEL = "model.gguf"
# Family in transformers -> architecture in llama.cpp.
ARCHITECTURES = {"gemma3_text": "gemma3", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
KINDS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "int8": "Q8_0"}
NOT_NORMALISED = (
    'llama.cpp does not normalise texts: give it " ".join(text.split()), and apply flipkd.text.normal_text to texts with unusual '
    "characters"
)
GEMMA_PATTERN = 6  # in llama.cpp every sixth layer of Gemma 3 has full attention


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence for a score that is not the answer alone, and for a model that llama.cpp would run differently."""
    return blocked_refusal(contract) or answer_refusal(contract) or _architecture_refusal(config)


def write(source: Source, folder: Path) -> list[str]:
    """Write model.gguf; return the limits. Raises ConfigError for a tokenizer that llama.cpp does not have."""
    model = replace(source, dtype="float32").merged_model()
    tokenizer = gguf_tokenizer(source.prompt.tokenizer, size=model.get_input_embeddings().weight.shape[0])
    writer = gguf.GGUFWriter(folder / MODEL, ARCHITECTURES[model.config.model_type])
    _add_settings(writer, model.config)
    _add_tokenizer(writer, tokenizer, source.prompt.tokenizer)
    kind = KINDS[source.dtype]
    for name, values in _tensors(model):
        array, array_kind = _quantised(values, kind)
        writer.add_tensor(name, array, raw_dtype=array_kind)
    writer.add_file_type(int(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [*answer_limits(source.contract), *([NOT_NORMALISED] if source.prompt.normalise else [])]


def _architecture_refusal(config: Any) -> str | None:
    family = config.model_type
    if family not in ARCHITECTURES:
        return (
            f"llama.cpp's form of a {family} is not known to flipkd, which knows {', '.join(ARCHITECTURES)}; export with "
            "--to merged and run llama.cpp's convert_hf_to_gguf.py, or export with --to onnx"
        )
    if family == "gemma3_text":
        full = [(layer + 1) % GEMMA_PATTERN == 0 for layer in range(config.num_hidden_layers)]
        is_usual = config.query_pre_attn_scalar == config.head_dim
        if [kind == "full_attention" for kind in config.layer_types] != full or not is_usual:
            return "this Gemma 3 has other layer types or another attention scale than in llama.cpp; export with --to onnx"
    scaled = {rope.get("rope_type", "default") for rope in _ropes(config).values()} - {"default"}
    if scaled and (family != "llama" or scaled != {"llama3"}):
        return f"the rope scaling {', '.join(sorted(scaled))} of this {family} is not written to gguf; export with --to onnx"
    return None


def _ropes(config: Any) -> dict[str, dict[str, Any]]:
    """Return the rope parameters by layer type; the key is "" in a model with one kind of layers."""
    parameters = config.rope_parameters
    return parameters if "full_attention" in parameters else {"": parameters}


def _add_settings(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    ropes = _ropes(config)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(ropes.get("full_attention", ropes.get("", {}))["rope_theta"])
    if "sliding_attention" in ropes:
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base_swa(ropes["sliding_attention"]["rope_theta"])
    if getattr(config, "final_logit_softcapping", None) is not None:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _add_tokenizer(writer: Any, values: GgufTokenizer, tokenizer: Any) -> None:
    writer.add_tokenizer_model(values.model)
    writer.add_tokenizer_pre(values.pre)
    writer.add_token_list(values.tokens)
    writer.add_token_types(values.types)
    if values.merges is not None:
        writer.add_token_merges(values.merges)
    if values.scores is not None:
        writer.add_token_scores(values.scores)
        writer.add_add_space_prefix(False)
    for add, id_ in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
    ):
        if id_ is not None:
            add(id_)
    writer.add_add_bos_token(tokenizer.bos_token_id is not None)
    writer.add_add_eos_token(False)


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and float32 values of each tensor, in llama.cpp's conventions."""
    config = model.config
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == ARCHITECTURES[config.model_type])
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, parameter in model.named_parameters():  # a tied LM head is not among them
        values = parameter.detach().float().cpu()
        if config.model_type == "gemma3_text" and name.endswith("norm.weight"):
            values = values + 1  # llama.cpp stores the factor of RMSNorm, transformers the factor minus 1
        if config.model_type == "llama" and ".self_attn.q_proj." in name:
            values = _interleaved(values, config.num_attention_heads)
        if config.model_type == "llama" and ".self_attn.k_proj." in name:
            values = _interleaved(values, config.num_key_value_heads)
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ConfigError(
                f"the tensor {name} of this {config.model_type} has no name in GGUF; export to onnx or merged"
            )
        yield found, values
    if any(rope.get("rope_type") == "llama3" for rope in _ropes(config).values()):
        yield "rope_freqs.weight", _rope_factors(model)


def _interleaved(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head: in Llama llama.cpp rotates neighbouring rows, transformers row i and i + half."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _rope_factors(model: Any) -> torch.Tensor:
    """Return the divisors [width / 2] of the default frequencies that give the model's own."""
    own = model.get_decoder().rotary_emb.inv_freq.float().cpu()
    theta = _ropes(model.config)[""]["rope_theta"]
    plain = theta ** -(torch.arange(len(own)) / len(own))
    factors: torch.Tensor = plain / own
    return factors


def _quantised(values: torch.Tensor, kind: str) -> tuple[Any, Any]:
    """Return an array and its GGUF type; norms and biases stay float32, rows that Q8_0 cannot split become float16."""
    array, chosen = values.numpy(), gguf.GGMLQuantizationType["F32" if values.ndim == 1 else kind]
    if array.shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0]:
        chosen = gguf.GGMLQuantizationType.F16
    return gguf.quants.quantize(array, chosen), chosen


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> LlamaCppScorer:
    """Load the model with llama-cpp-python on the CPU."""
    return LlamaCppScorer(folder, record.contract)


class LlamaCppScorer:
    """An export as a user runs it: llama-cpp-python, its tokenizer and the logits of the two label words."""

    reads_pairs = True
    truncates_each_text = True

    def __init__(self, folder: Path, contract: ScoreContract) -> None:
        from llama_cpp import Llama

        self.contract = contract
        # In tokens.
        most = 1 + sum(len(part.encode()) for part in contract.template.values()) + 2 * contract.max_text_length
        sizes = {"n_ctx": most, "n_batch": most, "n_ubatch": most}
        threads = torch.get_num_threads()  # llama.cpp's own default waits in loops where other programs run
        self.model = Llama(str(folder / MODEL), **sizes, n_threads=threads, n_threads_batch=threads, verbose=False)

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair; texts are normalised, which llama.cpp does not do."""
        template, has_bos = self.contract.template, self.model.token_bos() >= 0
        before = [self.model.token_bos()] * has_bos + self._ids(template["instruction"]) + self._ids(template["left"])
        between, after = self._ids(template["right"]), self._ids(template["question"])
        return [before + self._text(a) + between + self._text(b) + after for a, b in zip(left, right, strict=True)]

    def _text(self, text: str) -> list[int]:
        normal = text if self.contract.text_normalisation is None else normal_text(text)
        return self._ids(normal)[: self.contract.max_text_length]

    def _ids(self, text: str) -> list[int]:
        return list(self.model.tokenize(text.encode(), add_bos=False, special=False)) if text else []

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute scores [N]."""
        weight = self.contract.score["answer"]
        return np.array([weight * self._answer(row) for row in self.token_ids(left, right)], np.float32)

    def _answer(self, row: list[int]) -> float:
        """Compute logit(yes) - logit(no) after the last token of a row."""
        import llama_cpp

        self.model.reset()
        self.model.eval(row)
        last = llama_cpp.llama_get_logits(self.model.ctx)
        no, yes = self.contract.label_ids
        return float(last[yes] - last[no])
