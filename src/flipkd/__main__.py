"""`python -m flipkd`."""

from flipkd.cli import main

if __name__ == "__main__":  # a process that `compare` starts reads this file too
    main()
