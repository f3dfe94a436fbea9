"""The probe's tables: a count per key, a log of every effect, and ways to fail on demand."""

from alembic import op

revision = "probe_001"
down_revision = None
branch_labels = ("probe",)
depends_on = None

TABLES = """
CREATE TABLE counts (
    key text PRIMARY KEY,
    count bigint NOT NULL,
    last_n bigint NOT NULL
);

-- No unique key over cause or place: a doubled effect must show here.
CREATE TABLE effects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL,
    place bigint NOT NULL,   -- of this effect among its key's
    n bigint NOT NULL,       -- of the message among its key's, as it was sent
    cause uuid NOT NULL
);

CREATE TABLE once (n bigint, CONSTRAINT once_only UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE texts (text text);
CREATE TABLE broken (what text PRIMARY KEY);  -- what is out of order now

CREATE SEQUENCE hiccups;  -- does not roll back, so a failure can be told to come a number of times
CREATE FUNCTION raise(state text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'told to' USING ERRCODE = state;
END $$;
CREATE FUNCTION hiccup(state text, times bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('hiccups') <= times THEN
        RAISE EXCEPTION 'told to' USING ERRCODE = state;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
