"""Payouts ⇄ doors, risk, approvals and executor: is each pay-out asked for, screened, approved, and ended as they say?"""
