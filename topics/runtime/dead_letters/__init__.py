"""What a room gave up on."""
