"""Calls to PSPs and timers, as rows."""
