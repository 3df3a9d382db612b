"""Training data from a language model behind an OpenAI-compatible endpoint, filtered by a critic."""
