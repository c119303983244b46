"""Connections that bring no request use up neither the page nor the process."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from node.web.connections import hurried_protocol
from tests.node.conftest import free_port, wait_for

REQUEST_S = 0.5
MAX_OPEN = 8
HALVES = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
    "a request and half of another": b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
}


async def answer(request: Request) -> Response:
    await request.body()
    await asyncio.sleep(float(request.query_params.get("s", "0")))
    return PlainTextResponse("well")


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=number,
        http=hurried_protocol(REQUEST_S, MAX_OPEN),
        log_config=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    yield number
    server.should_exit = True
    thread.join(10)


def get(port: int, path: str = "/") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def is_closed(sock: socket.socket) -> bool:
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("said", HALVES)
def test_a_request_that_does_not_end_is_not_waited_for(port: int, said: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(HALVES[said])
        assert is_closed(sock)


def test_one_connection_too_many_is_closed_at_once_and_the_page_comes_back(port: int) -> None:
    socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(MAX_OPEN + 1)]
    try:
        assert is_closed(socks[-1])
        assert all(map(is_closed, socks))
        assert get(port) == b"well"
    finally:
        for sock in socks:
            sock.close()


def test_an_answer_may_take_longer_than_its_request(port: int) -> None:
    assert get(port, f"/?s={3 * REQUEST_S}") == b"well"
