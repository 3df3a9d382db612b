"""Student: answers and embeddings of one pass, by family, reading, padding and precision."""

import pytest
import torch
from tiny import FAMILY_AND_READING, randomise

from flipkd.student.scoring import encode_texts, score_pairs

LEFT = ["my card was stolen yesterday", "pin", "where is my transfer"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee"]


@pytest.mark.scenario("N1")
@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_score_pairs_does_not_depend_on_batch_size_padding_and_order(make_student, family, reading):
    student, _ = make_student(family, reading=reading)
    randomise(student)
    together = score_pairs(student, LEFT, RIGHT, return_embeddings=True, batch_size=3)
    alone = [score_pairs(student, [a], [b], return_embeddings=True) for a, b in zip(LEFT, RIGHT, strict=True)]
    backwards = score_pairs(student, LEFT[::-1], RIGHT[::-1], return_embeddings=True, batch_size=2)
    for i in range(3):
        assert together.answer[i] == pytest.approx(alone[i].answer[0], abs=1e-5)
        assert together.cosine[i] == pytest.approx(alone[i].cosine[0], abs=1e-5)
        assert together.answer[i] == pytest.approx(backwards.answer[2 - i], abs=1e-5)
    assert len({round(float(x), 4) for x in together.answer}) == 3, "the test needs different scores"


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3"])
def test_answer_is_the_models_own_logits_for_the_label_words(make_student, family):
    student, _ = make_student(family)
    randomise(student)
    row = student.prompt.pair_rows(LEFT[:1], RIGHT[:1])[0]
    with torch.no_grad():
        own = student.model(input_ids=torch.tensor([row.ids])).logits[0, -1, list(student.prompt.label_ids)]
    assert score_pairs(student, LEFT[:1], RIGHT[:1]).answer[0] == pytest.approx(float(own[1] - own[0]), abs=1e-5)


def test_score_pairs_does_not_run_the_lm_head(make_student):
    student, _ = make_student()
    seen = []
    head = student.language_model.get_output_embeddings()
    head.register_forward_hook(lambda *_: seen.append(1))
    score_pairs(student, LEFT, RIGHT, return_embeddings=True)
    assert seen == []


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3"])
def test_blocked_embeddings_equal_those_of_the_texts_alone(make_student, family):
    student, _ = make_student(family, reading="blocked")
    randomise(student)
    with torch.no_grad():
        output = student(student.collate(LEFT, RIGHT, return_embeddings=True))
    torch.testing.assert_close(output.left, torch.from_numpy(encode_texts(student, LEFT)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.right, torch.from_numpy(encode_texts(student, RIGHT)), atol=1e-5, rtol=1e-4)


def test_right_embedding_depends_on_the_left_text_only_in_joint_reading(make_student):
    for reading, same in (("joint", False), ("separate", True), ("blocked", True)):
        student, _ = make_student(reading=reading)
        randomise(student)
        batch = student.collate(["my card", "please close it"], ["fee", "fee"], return_embeddings=True)
        with torch.no_grad():
            right = student(batch).right
        assert torch.allclose(right[0], right[1], atol=1e-5) is same


def test_bfloat16_base_keeps_float32_adapters_and_float32_results(make_student):
    student, _ = make_student(dtype="bfloat16")
    dtypes = {name.split(".")[-3] if "lora" in name else "base": p.dtype for name, p in student.named_parameters()}
    assert dtypes["lora_A"] == dtypes["lora_B"] == torch.float32
    assert dtypes["base"] == torch.bfloat16
    output = student(student.collate(LEFT, RIGHT, return_embeddings=True))
    assert output.answers.dtype == output.left.dtype == torch.float32
