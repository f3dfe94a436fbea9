"""Executor ⇄ pay-out providers: is each pay-out sent once, and as its provider lists it?"""
