"""One module for each group of `tally` commands; operations/cli/main.py says which."""
