"""README.md of an export: how its library loads it, the decisions on the scale of its output, and its limits."""

from __future__ import annotations

import math

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
    """Return the text. A format without an entry in USE gets no example."""
    contract = record.contract
    no, yes = contract.label_ids
    use = USE.get(record.format, "# see docs/export.md of flipkd").format(
        no=no, yes=yes, base=contract.base_model_name_or_path, most=contract.max_text_length
    )
    if set(contract.score) != {"answer"}:  # then the example computes a part of the score
        use = use.replace("score = ", "answer = ")
    fitted = contract.calibration or {"slope": 1.0, "intercept": 0.0}
    slope, intercept = float(fitted["slope"]), float(fitted["intercept"])
    threshold = contract.threshold or 0.0
    sentences = [f"A score of at least {threshold:.4f} is a match: {_probability(threshold, slope, intercept)}."]
    if record.format == "text-encoder":
        sentences.append("The vectors alone do not give this score.")
    if contract.review_threshold is not None:
        below = contract.review_threshold
        sentences.append(f"One from {below:.4f} on is for review: {_probability(below, slope, intercept)}.")
    return TEXT.format(
        title=f"Matcher over {contract.base_model_name_or_path.split('/')[-1]}",
        version=record.flipkd_version,
        format=record.format,
        dtype=record.dtype,
        use=use,
        decisions="\n".join(sentences),
        slope=slope,
        intercept=intercept,
        limits="\n".join(f"- {limit}" for limit in record.limits) or "None.",
    )


def _probability(score: float, slope: float, intercept: float) -> str:
    logit = slope * score + intercept
    probability = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    return f"a probability of {probability:.4f}"
