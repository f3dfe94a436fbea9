"""The outside world: simulated PSPs with durable books and an unreliable network. Imports none of the other packages."""
