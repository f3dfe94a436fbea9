"""What all pages of the audit share: reading, repeated looks, effects in flight, verdicts. Knows no flow of money."""
