"""payment-orders → executor → executions: orders become charges at a PSP, and what it said becomes an event."""
