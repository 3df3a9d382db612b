"""THE LLM AS ENCODER: one prompt, the LoRA down-projections read as text vectors, a yes or no at one position."""
