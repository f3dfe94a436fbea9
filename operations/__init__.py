"""People's hands: the `tally` command line, the local stack, the auditor, the benchmarks."""
