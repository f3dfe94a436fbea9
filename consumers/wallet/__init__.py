"""executions, pay-outs → wallet → movements, wallet balances: each seller's balance, each buyer's totals."""
