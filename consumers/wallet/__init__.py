"""The wallets: what each seller can use, and what each buyer has paid in all."""
