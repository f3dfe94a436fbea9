"""Processes: one of rooms or the API (host), and all of them on one machine with their servers, held by one supervisor."""
