"""The page of money back: what lies behind a charge, from an operation or dispute to wallet, ledger and payments."""
