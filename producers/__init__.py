"""Doors in: the HTTP API and the client for upstream services."""
