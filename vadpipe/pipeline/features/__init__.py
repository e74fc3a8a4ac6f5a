"""Stored features: looking at, comparing and exporting them."""
