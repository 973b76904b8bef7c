"""Answers that end too soon are none.

botocore takes what comes of a body, and a JSON body that it cannot read is an empty answer to it: half of a
Query would be a Query that found nothing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ResponseStreamingError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


class WholeAnswers:
    """The connections of a client, as botocore uses them. Bodies that are read as streams look after
    themselves; an error is read at once, whatever was asked for: of half a one only the status is left, and a
    404 says of a GET neither whether the key is missing nor the bucket."""

    def __init__(self, connections: Any) -> None:
        self._connections = connections

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Raises `ResponseStreamingError`, which botocore repeats as it does other broken connections, for a
        body that is shorter than its Content-Length."""
        answer: AWSResponse = self._connections.send(request)
        told = answer.headers.get("content-length", "")
        is_stream = request.stream_output and answer.status_code < HTTPStatus.MULTIPLE_CHOICES
        if is_stream or request.method == "HEAD" or not told.isdigit():
            return answer
        if len(answer.content) < int(told):
            raise ResponseStreamingError(error=f"{len(answer.content)} of {told} bytes came")
        return answer

    def close(self) -> None:
        self._connections.close()


def only_whole_answers(client: Any) -> None:
    """Makes a client take no other from now on."""
    client._endpoint.http_session = WholeAnswers(client._endpoint.http_session)
