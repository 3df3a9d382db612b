"""transformers.Trainer over one module whose forward returns the loss, with checkpoints that resume and sentinels that stop."""
