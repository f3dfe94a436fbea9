"""Stores, topics and the PSPs' own books → one report on whether they agree (docs/auditor.md)."""
