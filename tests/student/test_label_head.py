"""The rows of the LM head that answer."""

from __future__ import annotations

import pytest
import torch

from flipkd.student.label_head import label_head, label_logits


class Model:
    """A causal LM that has an output head only."""

    def __init__(self, head):
        self.head = head

    def get_output_embeddings(self):
        return self.head


@pytest.mark.parametrize("bias", [False, True])
def test_label_logits_are_those_of_the_complete_head(bias):
    torch.manual_seed(0)
    head, hidden, rows = torch.nn.Linear(6, 9, bias=bias), torch.randn(4, 6), torch.tensor([7, 2])
    logits = label_logits(hidden, label_head(Model(head), rows), softcap=None)
    torch.testing.assert_close(logits, head(hidden)[:, rows])


def test_label_logits_are_float32_under_autocast_and_never_above_the_softcap():
    head, hidden = torch.nn.Linear(6, 9, bias=False).bfloat16(), torch.full((1, 6), 100.0, dtype=torch.bfloat16)
    head.weight.data[3], head.weight.data[4] = 1.0, -0.001
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = label_logits(hidden, label_head(Model(head), torch.tensor([3, 4])), softcap=30.0)
    assert logits.dtype == torch.float32
    small = 600 * float(head.weight.data[4, 0])
    expected = torch.tensor([[30.0, 30.0 * torch.tanh(torch.tensor(small / 30.0)).item()]])
    torch.testing.assert_close(logits, expected)
