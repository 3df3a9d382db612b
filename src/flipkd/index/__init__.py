"""Indexes to search in: one in memory that never changes, and one of LanceDB that takes new entries while it is searched."""

from flipkd.index.hits import Floats, Hit, SearchIndex
from flipkd.index.memory import Index
from flipkd.index.opening import open_index

__all__ = ["Floats", "Hit", "Index", "SearchIndex", "open_index"]
