"""One module for each group of `tally` commands; operations/cli.py says which."""
