"""Settlement files at the doors: where they are asked for, and in rows of how many bytes they lie."""

ROOT = "/v1/settlement-files"
PIECE = 1 << 20
