"""Shared by the door that registers merchants' endpoints and the room that calls them."""
