"""How much faster is it than what a user would run otherwise?  Measured side by side, in one run."""
