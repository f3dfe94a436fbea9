"""Wallet and ledger ⇄ payouts and executor: is each pay-out reserved, settled, booked and returned as they say?"""
