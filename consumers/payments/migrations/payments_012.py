"""A payment by token, or on a page of the PSP's; and where that page is."""

from alembic import op

revision = "payments_012"
down_revision = "payments_011"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE payments
    ALTER COLUMN token DROP NOT NULL,
    ADD COLUMN return_url text,
    ADD CONSTRAINT payments_token_or_page CHECK (num_nonnulls(token, return_url) = 1);

CREATE TABLE redirects (
    payment_order_id text PRIMARY KEY,
    redirect_url text NOT NULL,
    expires_at timestamptz
);
REVOKE DELETE ON redirects FROM tally_payments;

CREATE VIEW redirect_view AS SELECT payment_order_id, redirect_url, expires_at FROM redirects;
GRANT SELECT ON redirect_view TO tally_payments_read;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
