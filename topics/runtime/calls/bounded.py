"""A connection to somebody else's server, whose answers end at a bound."""

from __future__ import annotations

from typing import Any, ClassVar

from aiohttp.client_proto import ResponseHandler


class BoundedReply(ResponseHandler):
    """Closes the connection once an answer has sent more than `bytes_max`: head, body and coding, as they come by wire.

    A body's own bound would leave what is not body: chunks' extensions, trailers, answers before the answer.
    """

    bytes_max: ClassVar[int]
    _received = 0

    def set_response_params(self, **params: Any) -> None:
        self._received = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= self.bytes_max:
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()
