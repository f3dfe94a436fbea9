"""executions, pay-out executions → ledger → ledger entries, account balances: balanced journals, append-only."""
