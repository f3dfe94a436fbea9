"""Pay-outs from request to release: screened, reserved, approved, released to the executor; and what became of them."""
