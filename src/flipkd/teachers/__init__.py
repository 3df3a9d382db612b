"""Small models that know the domain: load one, keep its scores, see whether it has anything to teach, fine-tune it."""
