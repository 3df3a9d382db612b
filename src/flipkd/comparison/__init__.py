"""SEVERAL SYSTEMS ON THE SAME PAIRS: one record per system, one resumable result file per run (system, seed)."""
