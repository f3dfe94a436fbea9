"""What can be said: events, money, ids, errors. Pure."""
