"""The student: an LLM with LoRA that answers yes or no about a pair and whose LoRA down-projections give text embeddings."""
