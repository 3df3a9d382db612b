"""Comparison of several systems on the same pairs: one record per system, one result file per run (system, seed)."""
