"""Properties that hold for every input, checked with Hypothesis and the shared vectors."""
