"""`python -m flipkd`."""

from flipkd.cli import main

main()
