"""States of layers: the last one is what the answer is computed from, whatever the batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import FAMILIES, SENTENCES, randomise

from flipkd.student.scoring import layer_states, score_pairs


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_is_computed_from_the_last_layers_state(make_student, family):
    student = randomise(make_student(family)[0])
    left, right = SENTENCES[:5], SENTENCES[3:8]
    states = layer_states(student, left, right)
    assert states.shape == (3, 5, 32)
    with torch.no_grad():
        answers = student.answer(torch.from_numpy(states[-1]))
    assert (answers[:, 1] - answers[:, 0]).numpy() == pytest.approx(score_pairs(student, left, right).answer, abs=1e-4)
    assert np.allclose(states, layer_states(student, left, right, batch_size=2), atol=1e-4)
