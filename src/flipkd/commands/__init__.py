"""One function per command, path in and path out; only these functions combine teachers, student and training."""
