"""A payment's own story: what was asked, where each order stands, and when all of it is through."""
