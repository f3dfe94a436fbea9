"""The ledger: executions → balanced journals, append-only."""
