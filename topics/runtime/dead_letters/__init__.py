"""Parked and dead letters: stored, listed, replayed, discarded."""
