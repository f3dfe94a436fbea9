"""The pay-in's page: from a request to the journal."""
