"""Diagnostics of vectors and hidden states: domains, aliases, analogies, and what each layer knows."""
