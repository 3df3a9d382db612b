"""Flipped knowledge distillation for text matching, from end to end, on transformers and peft alone.

A small encoder that knows the domain (the teacher) tells a large language model (the student) how alike texts are,
while the student learns to answer yes or no. Pairs are csv: text1, text2, label (1, 0, or empty for unknown).

    python recipes/minimal.py --train train.csv --validation validation.csv --model LLM --teacher ENCODER

The method is that of Li et al., ACL 2025 (arXiv 2507.05617). In comments "paper" is what is published and "ours" what
fills a gap. The losses are the paper's three as `flipkd train` has them; tests/recipes/test_minimal.py holds both together.
Left out: what is ours among the defaults (pairwise_pref_kl, unlabelled pairs that the teacher grades, a learning rate of
its own for what is read), fine-tuning the teacher (do it first), saving, resuming, calibration, grouping by length, a
limit on the comparisons of large batches (keep --batch at 64 or below), LM heads with a bias or a softcap, the normal
form of texts, and refusing text that spells an added token which the tokenizer does not call special.
"""

import argparse
import csv
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

INSTRUCTION = "Do two texts match?\n"
LEFT, RIGHT = "A:\n", "\nB:\n"
QUESTION = "\nMatch, yes or no:"
NO, YES = " no", " yes"
MAX_TEXT_TOKENS = 128
RANK, READ_RANK, READ_MODULE = 16, 128, "v_proj"  # ours: wide only where it is read, in the last layer
QUANTILE = 0.2  # of the teacher's scores: the dual threshold
MARGIN, GAMMA, EPSILON, TEMPERATURE = 0.2, 0.5, 0.05, 0.05


@dataclass
class Student:
    model: Any
    tokenizer: Any
    label_ids: list[int]
    caught: dict[str, torch.Tensor] = field(default_factory=dict)  # "A x" [N, T, r] of the newest forward pass


def read_pairs(path):
    """[(text1, text2, label)], label -1 where unknown: such a pair still learns from the teacher."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        pairs = [(row["text1"], row["text2"], int(row["label"] or -1)) for row in csv.DictReader(file)]
    if not all(left.strip() and right.strip() for left, right, _ in pairs):
        raise SystemExit(f"{path}: a text is empty; remove its row")
    return pairs


def teacher_vectors(name, pairs, device):
    """Text -> the teacher's unit vector. Paper: a small model gives the similarities; it is never trained here."""
    texts = list(dict.fromkeys(text for left, right, _ in pairs for text in (left, right)))
    vectors = SentenceTransformer(name, device=device).encode(texts, normalize_embeddings=True)
    return dict(zip(texts, torch.from_numpy(vectors).float().to(device), strict=True))


def load_student(name, *, dtype, device, seed):
    """A causal LM with fresh LoRA, and a hook that keeps what A gives at the place that is read."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    place = [module for module, _ in model.named_modules() if module.endswith(READ_MODULE)][-1]
    torch.manual_seed(seed)
    config = LoraConfig(  # paper: only LoRA trains
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules="all-linear",
        rank_pattern={place: READ_RANK},
        alpha_pattern={place: 2 * READ_RANK},
    )
    student = Student(get_peft_model(model, config).to(device), tokenizer, label_word_ids(tokenizer))
    # Paper: in h = W x + B A x the down-projection A is an encoder, and A x the compressed text that B decodes.
    down = student.model.get_base_model().get_submodule(place).lora_A["default"]
    down.register_forward_hook(lambda _module, _inputs, output: student.caught.update({"A x": output}))
    return student


def token_ids(tokenizer, texts):
    """Each piece tokenised alone; text that spells a special token stays text."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def label_word_ids(tokenizer):
    """The one token that each label word adds behind the question: [no, yes]."""
    question, *answers = token_ids(tokenizer, [QUESTION, QUESTION + NO, QUESTION + YES])
    if any(answer[:-1] != question for answer in answers):
        raise SystemExit("a label word is not one token behind the question; choose other words")
    return [answer[-1] for answer in answers]


def collate(tokenizer, pairs, device):
    """Ids [N, T], padded on the right, and their kind [N, T]: -1 padding, 0 template, 1 text 1, 2 text 2."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, kinds = [], []
    for text1, text2, _ in pairs:
        head, left, a, right, b, question = token_ids(tokenizer, [INSTRUCTION, LEFT, text1, RIGHT, text2, QUESTION])
        a, b = a[:MAX_TEXT_TOKENS], b[:MAX_TEXT_TOKENS]  # the texts are cut, never the template
        ids.append(begin + head + left + a + right + b + question)
        before = len(begin + head + left)
        kinds.append([0] * before + [1] * len(a) + [0] * len(right) + [2] * len(b) + [0] * len(question))
    longest = max(map(len, ids))
    padded = [row + [0] * (longest - len(row)) for row in ids]
    kinds = [row + [-1] * (longest - len(row)) for row in kinds]
    return torch.tensor(padded, device=device), torch.tensor(kinds, device=device)


def read(student, pairs):
    """One forward pass -> answers [N, 2] (no, yes) and the unit vectors [N, r] of both texts, all float32."""
    language_model = student.model.get_base_model()
    ids, kind = collate(student.tokenizer, pairs, student.model.device)
    # No mask: a causal model sees nothing behind a token, and padding stands there. With padding on the left its first
    # positions would see nothing at all, for which torch's attention kernels on CUDA give NaN.
    hidden = language_model.get_decoder()(ids, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(pairs), device=ids.device), (kind >= 0).sum(1) - 1]
    # Paper: the student still answers in words. Two rows of the LM head at the last token are all that it needs.
    rows = language_model.get_output_embeddings().weight[student.label_ids]
    answers = F.linear(last.float(), rows.float())
    return answers, *(pool(student.caught["A x"], kind == side) for side in (1, 2))


def pool(vectors, span):
    """Ours: the mean over the text's own tokens, at unit length, so that a dot product is a cosine."""
    mean = (vectors.float() * span[:, :, None]).sum(1) / span.sum(1, keepdim=True)
    return F.normalize(mean, dim=1, eps=1e-8)


def dual_threshold(teacher, pairs):
    """(theta_pos, theta_neg). Paper: a lower bound for positives, an upper one for negatives; ours: by quantile."""
    score = np.array([float(teacher[left] @ teacher[right]) for left, right, _ in pairs])
    label = np.array([label for _, _, label in pairs])
    if not {0, 1} <= set(label.tolist()):
        raise SystemExit("the dual threshold needs labelled pairs of both classes")
    theta_pos = np.quantile(score[label == 1], QUANTILE)
    theta_neg = np.quantile(score[label == 0], 1 - QUANTILE)
    if theta_neg >= theta_pos:  # a weak teacher's classes overlap: split them at the middle
        middle, gap = (theta_pos + theta_neg) / 2, 1e-3 * max(score.std(), 1e-3)
        theta_pos, theta_neg = middle + gap, middle - gap
    return float(theta_pos), float(theta_neg)


def losses(student, teacher, pairs, thresholds):
    """The three parts of the loss on one batch; S and T [N, N] are the student's and the teacher's similarities."""
    answers, left, right = read(student, pairs)
    label = torch.tensor([label for _, _, label in pairs], device=answers.device)
    S = left @ right.T
    T = torch.stack([teacher[a] for a, _, _ in pairs]) @ torch.stack([teacher[b] for _, b, _ in pairs]).T
    usable, match, no_match = cells(pairs, answers.device)
    # Paper: pairs on which the teacher is unsure are dropped; and a labelled pair that it contradicts.
    theta_pos, theta_neg = thresholds
    positive = usable & (theta_pos <= T) & ~no_match
    negative = usable & (theta_neg >= T) & ~match
    return {
        "answer_cross_entropy": mean(F.cross_entropy(answers[label >= 0], label[label >= 0], reduction="none")),
        "margin_hinge": margin_hinge(S, T, positive, negative),
        "in_batch_kl": (in_batch_kl(S, T, usable) + in_batch_kl(S.T, T.T, usable.T)) / 2,
    }


def cells(pairs, device):
    """The cells (a_i, b_j) that no repetition of a text turns into a false negative; the known matches and non-matches."""
    number = {}
    a, b = (torch.tensor([number.setdefault(pair[side], len(number)) for pair in pairs]) for side in (0, 1))
    own = torch.eye(len(pairs), dtype=torch.bool)
    repeated = (a[:, None] == a) | (b[:, None] == b) | (a[:, None] == b)
    known = {value: {frozenset(pair[:2]) for pair in pairs if pair[2] == value} for value in (1, 0)}
    named = [[[frozenset((a, b)) in known[y] for _, b, _ in pairs] for a, _, _ in pairs] for y in (1, 0)]
    return own.to(device) | ~repeated.to(device), *torch.tensor(named, device=device)


def margin_hinge(S, T, positive, negative):
    """Paper: the margin-aware loss has two zones, between the classes and inside each. Ours: both as hinges."""
    between = (MARGIN - (S[positive][:, None] - S[negative])).relu().flatten()
    within = []
    for mask in (positive, negative):
        gap_T, gap_S = (X[mask][:, None] - X[mask] for X in (T, S))
        # Paper: adaptive to the teacher's scores. Ours: a share of its gap is asked for, and nothing for a near-tie.
        within.append((GAMMA * gap_T - gap_S).relu()[gap_T > EPSILON])
    return mean(between) + mean(torch.cat(within))


def in_batch_kl(S, T, usable):
    """Paper: the in-batch similarity distributions are aligned. Ours: the mean over rows of KL(teacher || student)."""
    chosen = usable.sum(1) > 1  # over one candidate a softmax is constant
    log_S, log_T = ((X / TEMPERATURE).masked_fill(~usable, -1e4)[chosen].log_softmax(1) for X in (S, T))
    return mean(F.kl_div(log_S, log_T, log_target=True, reduction="none").sum(1))


def mean(terms):
    """The mean, and 0 of nothing."""
    return terms.sum() / max(terms.numel(), 1)


def shuffled(count, *, epochs, batch, seed):
    """The row numbers of every step."""
    generator = torch.Generator().manual_seed(seed)
    return [rows.tolist() for _ in range(epochs) for rows in torch.randperm(count, generator=generator).split(batch)]


def train(student, teacher, pairs, batches, *, lr):
    """AdamW with a linear warm-up and decay, as transformers.Trainer has it; returns the loss of every step."""
    thresholds = dual_threshold(teacher, pairs)
    weights = [weight for weight in student.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.06 * len(batches)), len(batches))
    student.model.train()
    history = []
    for step, rows in enumerate(batches):
        parts = losses(student, teacher, [pairs[row] for row in rows], thresholds)
        loss = sum(parts.values())  # L = L_answer + L_MCL + L_dist
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        history.append(loss.item())
        if step % 10 == 0:
            print(f"step {step}/{len(batches)}", *(f"{name} {part.item():.4f}" for name, part in parts.items()))
    return history


@torch.no_grad()
def evaluate(student, pairs, *, batch):
    """F1 at the threshold that is best on these very pairs (so it flatters), and average precision."""
    student.model.eval()
    pairs = [pair for pair in pairs if pair[2] >= 0]
    answers = torch.cat([read(student, pairs[start : start + batch])[0] for start in range(0, len(pairs), batch)])
    score, label = (answers[:, 1] - answers[:, 0]).cpu().numpy(), [label for _, _, label in pairs]
    precision, recall, _ = precision_recall_curve(label, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {"f1": float(f1.max()), "average_precision": float(average_precision_score(label, score))}


def main(argv=None):
    """Train and measure; returns (metrics, loss of every step)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("train", "validation", "model", "teacher"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", help="of the LLM; the adapters are float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)

    pairs, validation = read_pairs(options.train), read_pairs(options.validation)
    teacher = teacher_vectors(options.teacher, pairs, options.device)
    student = load_student(options.model, dtype=options.dtype, device=options.device, seed=options.seed)
    batches = shuffled(len(pairs), epochs=options.epochs, batch=options.batch, seed=options.seed)
    history = train(student, teacher, pairs, batches, lr=options.lr)
    metrics = evaluate(student, validation, batch=options.batch)
    print("validation", *(f"{name} {value:.4f}" for name, value in metrics.items()))
    return metrics, history


if __name__ == "__main__":
    main()
