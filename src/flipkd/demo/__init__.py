"""Demo data: questions of bank customers, written for this project, and labelled pairs of them."""
