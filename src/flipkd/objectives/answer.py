"""Learning from the labels: the student says the right label word."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from flipkd.objectives.batch import MatchBatch, mean_or_zero


def answer_cross_entropy(batch: MatchBatch) -> Tensor:
    """L_answer = mean over labelled pairs of -log softmax(z_i)[y_i], z_i [2] the logits of (no, yes), y_i the label.

    Needs answers and label; pairs with an unknown label (-1) are left out, and none labelled gives 0. The answer in
    words is the paper's (Li et al., ACL 2025, arXiv 2507.05617); the softmax over the two label words alone is ours.
    """
    answers, label = batch.require("answers"), batch.require("label")
    labelled = label >= 0
    return mean_or_zero(cross_entropy(answers[labelled].float(), label[labelled], reduction="none"))
