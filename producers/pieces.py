"""How a settlement file lies in the doors' store: in rows of so many bytes, the last one shorter."""

PIECE = 1 << 20
