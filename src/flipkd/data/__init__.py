"""Read, check and split text pairs; no text is in two parts of a split."""
