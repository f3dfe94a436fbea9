"""Where the outside comes in: asked → claims, stored reply and events in one transaction → published."""
