"""Exports of a matcher to the formats of other libraries, and the comparison of an export with its matcher."""
