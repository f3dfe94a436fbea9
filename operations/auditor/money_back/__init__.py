"""The page of money back: from an operation or dispute to wallet, ledger and payments."""
