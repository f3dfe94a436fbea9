"""Where it is said, and how surely: the catalogue and the delivery runtime."""
