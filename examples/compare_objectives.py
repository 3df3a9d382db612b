"""Objectives: the loss of a student that agrees with its teacher, and of a random student, for every objective.

    python examples/compare_objectives.py    # a second or two; no model is loaded

A batch of eight pairs is made of random vectors. The first student has the vectors of the teacher, and its answers have the
teacher's log-odds. The second student is random. An objective is a function of one MatchBatch; some have parameters, which
are random here. Unlike in a run the pairs of a list have different first texts. The output is at the end of this file, and a
test compares it.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from flipkd import MatchBatch
from flipkd.objectives import OBJECTIVES
from flipkd.training.losses import RunFacts, build_objective, resolve_objectives

PAIRS, WIDTH = 8, 16
# A run measures these on the training and validation pairs; here they are chosen.
FACTS = {"theta_pos": 0.5, "theta_neg": 0.4, "teacher_slope": 8.0, "teacher_intercept": -4.0}


def unit_vectors(seed: int) -> torch.Tensor:
    """Random vectors [PAIRS, WIDTH] of length 1."""
    return normalize(torch.randn(PAIRS, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def batch(*, agrees: bool) -> MatchBatch:
    """Half of the pairs match, and the teacher finds the two texts of these close."""
    label = torch.arange(PAIRS) % 2
    left, noise = unit_vectors(0), unit_vectors(1)
    right = torch.where(label[:, None] == 1, normalize(left + 0.3 * noise, dim=1), noise)
    grid = left @ right.T
    log_odds = FACTS["teacher_slope"] * grid.diagonal() + FACTS["teacher_intercept"]
    if not agrees:
        log_odds = 3 * torch.randn(PAIRS, generator=torch.Generator().manual_seed(2))
    return MatchBatch(
        answers=torch.stack([torch.zeros(PAIRS), log_odds], dim=1),
        label=label,
        left=left if agrees else unit_vectors(3),
        right=right if agrees else unit_vectors(4),
        teacher_grid=grid,
        teacher_left=left,
        teacher_right=right,
        pair_id=torch.arange(PAIRS) % (PAIRS // 2),  # as if the last four were the first four in the other order
        list_id=torch.arange(PAIRS) // 4,  # two queries of four candidates
        layer_states=torch.randn(PAIRS, 2, 4, generator=torch.Generator().manual_seed(5)),
    )


def main() -> None:
    """Print one line per objective."""
    print(f"{'objective':24}{'agrees':>9}{'random':>9}")
    for term in resolve_objectives(dict.fromkeys(OBJECTIVES, 1.0), teacher_facts=FACTS):
        torch.manual_seed(0)  # of the parameters of some
        facts = RunFacts(student_width=WIDTH, state_shape=(2, 4), training=batch(agrees=True))
        objective = build_objective(term.function, lambda facts=facts: facts)
        losses = [round(objective(batch(agrees=agrees)).item(), 2) + 0.0 for agrees in (True, False)]  # no -0.00
        print(f"{term.name:24}{losses[0]:9.2f}{losses[1]:9.2f}")


if __name__ == "__main__":
    main()

# Output:
#
#     objective                  agrees   random
#     answer_cross_entropy         0.14     1.72
#     answer_with_teacher          0.18     0.37
#     bernoulli_kd                 0.00     1.46
#     margin_mse                   0.00   115.02
#     pairwise_pref_kl             0.00     1.88
#     ranknet_distill              0.19     2.00
#     order_consistency            0.47     0.80
#     in_batch_kl                  0.00     9.09
#     score_mse                    0.00     0.78
#     margin_hinge                 0.00     0.55
#     margin_angular               0.00    11.56
#     teacher_rank_hinge           0.00     0.23
#     list_mle                     0.45    15.21
#     similarity_preserving        0.00     0.07
#     rkd_distance                 0.00     0.03
#     rkd_angle                    0.00     0.04
#     cosent                       0.00     5.70
#     info_nce                     0.00     8.36
#     jsd_kd                       0.00     0.31
#     hard_kd                      0.07     1.57
#     standardised_kd              0.00     0.34
#     sample_fusion                0.08     1.58
#     symmetric_cross_entropy      0.39     2.93
#     list_kl                      0.00     2.83
#     list_softmax                 0.02     3.54
#     joint_lists                  0.04     6.33
#     self_distill_heads           0.01     1.40
#     top_k_kl                     0.00     7.66
#     pkt                          0.00     0.09
#     mixed_gram                   0.00     0.17
#     prototype_kd                 0.00     0.24
#     passage_info_nce             0.00     8.19
#     adaptive_margin              0.38     0.40
#     gaussian_decay_info_nce      0.00     9.13
#     attract_repel                0.34     1.24
#     simcse                       0.00     0.03
#     set_info_nce                 7.69     6.97
#     embed_align                  1.94     2.05
#     ckd_info_nce                 2.95     3.01
#     wcord                        0.83     0.84
#     pair_head_kd                 0.55     0.57
#     pair_relation                3.21     3.09
#     norm_direction               0.99     0.95
#     lelp_subclass                0.81     0.78
#     layer_score_kd               1.18     1.18
