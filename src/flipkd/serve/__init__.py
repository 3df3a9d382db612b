"""A matcher behind HTTP: requests in the shapes that the field knows, one bounded queue in front of the model."""
