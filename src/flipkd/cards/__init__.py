"""Model cards: README.md of a matcher and of a teacher, in the format of the Hugging Face hub."""
