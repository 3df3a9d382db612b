"""What the demo brings along: a bank's customer questions, written for this project, and pairs drawn from them."""
