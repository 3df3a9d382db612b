"""Teachers, small models that know the domain: load, fine-tune, cache the outputs, check before training."""
