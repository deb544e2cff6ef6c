"""The two sides of a comparison: what they are, and where they run."""
