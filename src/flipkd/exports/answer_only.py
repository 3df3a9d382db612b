"""Requirements of formats whose only output is the answer: logit(yes) - logit(no) of a pair in one order."""

from __future__ import annotations

from flipkd.student.contract import ScoreContract

HOW = "flipkd calibrate --score answer makes a matcher of the answer alone; --to merged exports all parts"
PARTS = {
    "cosine": "the cosine of two text embeddings",
    "teacher": "the score of its teacher",
}


def answer_refusal(contract: ScoreContract) -> str | None:
    """Return the sentence about a part of the score that is not the answer; None if the score is the answer alone."""
    others = [text for name, text in PARTS.items() if name in contract.score]
    if others:
        return f"the score of this matcher has {' and '.join(others)}, which this format cannot compute; {HOW}"
    if contract.symmetric:
        return (
            "the score of this matcher is the mean over both orders of a pair, and this format scores one; flipkd calibrate "
            "--no-symmetric makes a matcher of one order, or export with --to merged"
        )
    return None


def blocked_refusal(contract: ScoreContract) -> str | None:
    """Return the sentence about blocked reading, for programs that make the attention mask themselves."""
    if contract.reading != "blocked":
        return None
    return (
        "blocked reading needs an attention mask and positions of its own for each pair, which this format does not have; "
        "export with --to merged, or train with --reading joint or separate"
    )


def answer_limits(contract: ScoreContract) -> list[str]:
    """Return sentences about parts of the matcher that decide nothing in its score, and that the export does not have."""
    if contract.cascade is not None:
        return ["the cascade of the matcher is not exported: the language model scores all pairs"]
    return []
