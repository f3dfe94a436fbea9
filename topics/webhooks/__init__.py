"""What the door that registers merchants' endpoints and the room that calls them share."""
