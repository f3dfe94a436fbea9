"""payment-orders → executor → executions: orders become charges at a PSP, and the PSP's replies become events."""
