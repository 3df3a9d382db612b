"""README.md of an export: how its library loads it, the decisions on the scale of its output, and its limits."""

from __future__ import annotations

from flipkd.evaluate.calibration import Calibration
from flipkd.exports.record import ExportRecord

USE = {
    "merged": """from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
batch = tokenizer([text1], [text2], truncation=True, return_tensors="pt")  # adds the template
logits = model(**batch).logits[:, -1]
score = logits[:, {yes}] - logits[:, {no}]""",
    "adapter": """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
batch = tokenizer([text1], [text2], truncation=True, return_tensors="pt")  # adds the template
logits = model(**batch).logits[:, -1]
score = logits[:, {yes}] - logits[:, {no}]""",
    "sentence-transformers": """from sentence_transformers import CrossEncoder

CrossEncoder(FOLDER).predict([(text1, text2)])  # probabilities""",
    "text-encoder": """from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer(FOLDER).encode([text1, text2])  # as Matcher.encode""",
    "onnx": """import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(FOLDER + "/tokenizer.json")
tokenizer.encode_special_tokens = True
sides = [tokenizer.encode(text, add_special_tokens=False) for text in (text1, text2)]
for side in sides:
    side.truncate({most})
ids = [tokenizer.post_process(*sides).ids]  # with the template
session = onnxruntime.InferenceSession(FOLDER + "/model.onnx")
[logits] = session.run(["logits"], {{"input_ids": ids, "attention_mask": [[1] * len(ids[0])]}})
score = logits[:, 1] - logits[:, 0]""",
    "gguf": """import llama_cpp

model = llama_cpp.Llama(FOLDER + "/model.gguf", n_ctx=512, verbose=False)
parts = ({instruction!r}, {left!r}, text1, {right!r}, text2, {question!r})
row = [model.token_bos()] if model.token_bos() >= 0 else []
for part in filter(None, parts):
    row += model.tokenize(part.encode(), add_bos=False, special=False)
model.eval(row)
logits = llama_cpp.llama_get_logits(model.ctx)
score = logits[{yes}] - logits[{no}]""",
    "sequence-classification": """from transformers import pipeline

classify = pipeline("text-classification", model=FOLDER)
classify([{{"text": text1, "text_pair": text2}}], truncation=True, function_to_apply="none")  # scores""",
}
TEXT = """# {title}

A text matcher of flipkd {version}, exported to the format `{format}` with weights in {dtype}.
`flipkd_export.json` has the score contract: template, truncation, label tokens, calibration, thresholds.

```python
{use}
```

## Decisions

{decisions}

P(match) = sigmoid({slope:.6g} * score + {intercept:.6g}).

## Limits

{limits}
"""


def readme(record: ExportRecord) -> str:
    """Return the text."""
    contract = record.contract
    no, yes = contract.label_ids
    base, most = contract.base_model_name_or_path, contract.max_text_length
    use = USE[record.format].format_map(contract.template | {"no": no, "yes": yes, "base": base, "most": most})
    sentences = []
    if contract.score != {"answer": 1.0}:
        use = use.replace("score = ", "answer = ")
        total = " + ".join(part if weight == 1 else f"{weight:.6g} {part}" for part, weight in contract.score.items())
        sentences.append(f"The score is {total}.")
    fitted = Calibration.of(contract.calibration)
    threshold = contract.threshold or 0.0
    sentences.append(f"A score of at least {threshold:.4f} is a match: {_probability(threshold, fitted)}.")
    if record.format == "text-encoder":
        sentences.append("The vectors alone do not give this score.")
    if contract.review_threshold is not None:
        below = contract.review_threshold
        sentences.append(f"One from {below:.4f} on is for review: {_probability(below, fitted)}.")
    return TEXT.format(
        title=f"Matcher over {base.split('/')[-1]}",
        version=record.flipkd_version,
        format=record.format,
        dtype=record.dtype,
        use=use,
        decisions="\n".join(sentences),
        slope=fitted.slope,
        intercept=fitted.intercept,
        limits="\n".join(f"- {limit}" for limit in record.limits) or "None.",
    )


def _probability(score: float, fitted: Calibration) -> str:
    return f"a probability of {fitted.apply([score])[0]:.4f}"
