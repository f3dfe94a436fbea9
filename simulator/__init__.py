"""The outside world: PSPs with card schemes and faults. Known to the rest only by its URLs."""
