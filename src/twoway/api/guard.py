"""What stands before every request: the token, its size, and the promise that it ends in an answer."""

from __future__ import annotations

import hmac
import json
import os
import sys
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from twoway.errors import TwowayError, one_line

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 << 10
MAX_HEAD = 16 << 10
"""Octets of a request's target and headers."""
PROBLEM = "application/problem+json"


class Problem(HTTPException):
    """An answer that says what is wrong in one line (RFC 9457)."""

    def __init__(
        self, status: int, detail: str, affected: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, one_line(detail), headers)
        self.affected = tuple(affected)


def problem_document(status: int, detail: str, affected: Sequence[str] = ()) -> bytes:
    """The members of RFC 9457 section 3.1; `type` is about:blank, so `title` is the status in words."""
    body: dict[str, object] = {"title": HTTPStatus(status).phrase, "status": status, "detail": one_line(detail)}
    if affected:
        body["affected"] = list(affected)
    return json.dumps(body).encode()


def failure(error: Exception) -> str:
    """What a client is told of an error: ours say it themselves, others may hold anything."""
    if isinstance(error, TwowayError):
        return str(error)
    return f"internal error: {type(error).__name__}: please report it, with what TWOWAY_DEBUG=1 prints"


class Guard:
    """An application around another. `token`: what `Authorization: Bearer` has to hold, None for nothing."""

    def __init__(self, app: ASGIApp, counters: Counter[str], token: str | None = None) -> None:
        self._app = app
        self._counters = counters
        self._token = None if token is None else token.encode()

    def change_token(self, token: str) -> None:
        """Requests need this one from now on."""
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        self._counters["requests"] += 1
        if not self._authorized(scope):
            self._counters["unauthorized"] += 1
            await _answer(send, 401, "this needs the API's token: Authorization: Bearer TOKEN")
            return
        if _head_octets(scope) > MAX_HEAD:
            await _answer(send, 431, f"the request's target and headers are larger than {MAX_HEAD} octets")
            return
        if _ambiguous(scope):
            await _answer(send, 400, "the request's length is said in two ways, or in one that its version has not")
            return
        begun = False
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                detail = f"the request's body is larger than {MAX_BODY} octets"
                raise Problem(413, detail, headers={"connection": "close"})
            return message

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive_bounded, send_noted)
        except Exception as error:  # noqa: BLE001  (the last resort: a request must not end without an answer)
            self._counters["errors"] += 1
            if os.environ.get("TWOWAY_DEBUG"):
                traceback.print_exception(error, file=sys.stderr)
            if not begun:
                await _answer(send, 500, failure(error))

    def _authorized(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        offered = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(offered) != 1:
            return False
        scheme, _, token = offered[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self._token)


def _ambiguous(scope: Scope) -> bool:
    """Whether somebody on the way may see another end of this request than we do (RFC 9112 section 6.1): both lengths,
    or chunks in HTTP/1.0. What seems to follow it is not to be taken for a request."""
    names = {name for name, _ in scope["headers"]}
    return b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0")


def _head_octets(scope: Scope) -> int:
    target = len(scope["raw_path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


async def _answer(send: Send, status: int, detail: str) -> None:
    body = problem_document(status, detail)
    headers = [(b"content-type", PROBLEM.encode()), (b"content-length", str(len(body)).encode())]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if status != HTTPStatus.INTERNAL_SERVER_ERROR:  # what follows of such a request is not worth reading
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
