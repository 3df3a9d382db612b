"""Losses from metrics.jsonl: objectives only, ordered steps, truncated lines are ignored."""

from __future__ import annotations

from flipkd.report.losses import MAX_POINTS, read_losses


def test_read_losses_by_objective_and_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 20, "a": 0.5, "b": 2, "loss": 9}\n{"step": 10, "a": 1.0}\n{"step": 30, "train_loss": 1}\n'
        '{"step": 20, "a": 0.25, "b": 2}\n{"step": 40, "a": 0.\n[1]\n'
    )
    rows = [(row["step"], row["objective"], row["value"]) for row in read_losses(path, ["a", "b", "c"])]
    assert rows == [(10, "a", 1.0), (20, "a", 0.25), (20, "b", 2.0)]


def test_read_losses_without_a_file(tmp_path):
    assert read_losses(tmp_path / "metrics.jsonl", ["a"]) == []


def test_read_losses_thins_out_many_steps(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}, "a": 1}}\n' for step in range(1, 1001)))
    assert 100 < len(read_losses(path, ["a"])) <= MAX_POINTS
