"""Statistics of what a matcher answered in use: drift against a reference, and experiments with two versions."""
