"""Doors: a request → its claims, stored reply and events in one transaction → published."""
