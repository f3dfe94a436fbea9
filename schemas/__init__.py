"""Events, requests, money, ids, errors. Pure."""
