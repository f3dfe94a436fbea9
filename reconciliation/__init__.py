"""Reconciliation: settlement files and bank statements, tied to our books."""
