"""Whether a checkout may go on: listed names, blocked countries, amounts and velocity."""
