"""Reports: statistics of a comparison, and a self-contained HTML page with its results."""
