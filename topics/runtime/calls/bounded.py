"""An HTTP client connection that is closed once a response exceeds a number of bytes."""

from __future__ import annotations

from typing import Any, ClassVar

from aiohttp.client_proto import ResponseHandler


class BoundedReply(ResponseHandler):
    """Closes the connection once a response has more than `bytes_max` bytes on the wire: head, body and coding.

    A limit on the body alone would not cover chunk extensions, trailers and interim (1xx) responses.
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
