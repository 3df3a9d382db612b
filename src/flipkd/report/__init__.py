"""WHAT CAME OUT, FOR OTHERS: the numbers of a comparison and one self-contained page about them."""
