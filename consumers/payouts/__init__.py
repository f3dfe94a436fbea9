"""Webhooks about payments to the services that asked for them: signed, in order, retried."""
