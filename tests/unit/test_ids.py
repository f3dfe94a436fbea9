"""What a door takes as an id can be read back over HTTP under it."""

from __future__ import annotations

from urllib.parse import urljoin

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.events import PaymentCompleted
from schemas.ids import NewId, is_new_id

IDS = st.text(alphabet="aZ9._~-", max_size=70) | st.sampled_from(
    [".", "..", "...", "." * 64, "." * 65, "a\n", "é", "a/b"]
)


def taken(text: str) -> bool:
    try:
        return TypeAdapter(NewId).validate_python(text) == text
    except ValidationError:
        return False


@given(IDS)
def test_an_id_is_taken_where_a_path_keeps_it(text: str) -> None:
    plain = 0 < len(text) <= 64 and set(text) <= set("aZ9._~-")
    kept = urljoin("http://door/v1/payments/x", text) == f"http://door/v1/payments/{text}"  # RFC 3986, as clients do
    assert is_new_id(text) == taken(text) == (plain and kept)


def test_what_was_said_of_older_ids_is_still_read() -> None:
    """A payment of before must end, whatever it is called."""
    said = PaymentCompleted(checkout_id="..", owner="shop", status="succeeded")
    assert PaymentCompleted.model_validate_json(said.model_dump_json()) == said
