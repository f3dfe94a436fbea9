"""How fast it is: measured on the real parts, printed as JSON."""
