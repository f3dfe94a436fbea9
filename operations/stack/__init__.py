"""Processes: one process of rooms or the API (host), and the local stack, where a supervisor runs them all with their servers."""
