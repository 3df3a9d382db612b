"""Review queue: pairs for people to label, in one SQLite file, and what their labels say."""
