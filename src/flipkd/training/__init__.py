"""transformers.Trainer over one module whose forward returns the loss, with resumable checkpoints and health checks."""
