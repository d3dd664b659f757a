"""How the clients connect: proxies, event loops, the end of a connection, messages that are too large."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
from mintage._client.channels import options_for, proxy_hint
from mintage.client import AsyncClient, Client, Retries
from mintage.errors import ClientError, InputError, TooLarge, Unavailable
from mintage.v1 import models_pb2
from PIL import Image

from tests.client.fakes import Script

MODEL = models_pb2.GetModelResponse(model=models_pb2.Model(name="models/a"))
HERE = ["127.0.0.1:1", "127.8.0.1:1", "localhost:1", "[::1]:1", "0.0.0.0:1", "ipv4:127.0.0.1:1", "dns:///localhost:1"]


@pytest.fixture
def script() -> Iterator[Script]:
    with Script().served() as script:
        yield script


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def answers(_: Any, __: Any) -> models_pb2.GetModelResponse:
    return MODEL


@pytest.mark.parametrize("name", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_no_proxy_stands_between_a_client_and_its_own_machine(
    script: Script, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    script.then(answers)
    with Client(script.address) as client:
        assert client.model("a").name == "models/a"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:99999",
        "127.0.0.1:-1",
        "127.0.0.1:foo",
        "127.0.0.1:0",
        "127.0.0.1:",
        "foo",
        "",
        ":1",
        "[::1",
        "[::1:1",
    ],
)
def test_an_address_that_grpc_would_take_for_another_is_refused(address: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(InputError, match="an address must"):
            client(address)


@pytest.mark.parametrize("address", [*HERE, "mint.example:50051", "dns:///mint.example", "ipv4:10.0.0.1:1,10.0.0.2:2"])
def test_an_address_of_any_kind_that_grpc_knows_is_taken(address: str) -> None:
    with Client(address):
        pass
    with Client("unix:/tmp/mintage.sock"):
        pass


@pytest.mark.parametrize("address", HERE)
def test_this_machine_has_many_names(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ("grpc.enable_http_proxy", 0) in options_for(address)
    assert proxy_hint(address) == ""


@pytest.mark.parametrize("address", ["mint.example:50051", "10.0.0.1:1", "[2001:db8::1]:1", "localhost.example:1"])
def test_other_machines_may_be_behind_one(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ("grpc.enable_http_proxy", 0) not in options_for(address)
    assert "http_proxy" in proxy_hint(address)


def test_the_client_says_when_a_proxy_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with (
            Client("mint.example:50051", retries=Retries(attempts=1)) as client,
            pytest.raises(Unavailable, match=r"https_proxy sends the call through a proxy, no_proxy=mint\.example "),
        ):
            client.model("a")
    monkeypatch.setenv("no_proxy", "localhost, .example")
    assert proxy_hint("mint.example:50051") == ""


def test_the_asynchronous_client_works_in_one_event_loop_after_another(script: Script) -> None:
    client = AsyncClient(script.address)

    async def name() -> str:
        return (await client.model("a")).name

    script.then(answers, answers, answers)
    assert [asyncio.run(name()) for _ in range(3)] == ["models/a"] * 3
    asyncio.run(client.close())


def test_after_close_every_call_is_refused_by_the_client_itself(script: Script) -> None:
    client = Client(script.address)
    client.close()
    for call in (lambda: client.model("a"), client.models, lambda: list(client.read_shard("a", 0))):
        with pytest.raises(ClientError, match="this client was closed"):
            call()

    async def with_asyncio() -> None:
        other = AsyncClient(script.address)
        script.then(answers)
        await other.model("a")
        await other.close()
        with pytest.raises(ClientError, match="this client was closed"):
            await other.model("a")

    asyncio.run(with_asyncio())


@contextlib.contextmanager
def echoing(answer_bytes: int, *options: tuple[str, int]) -> Iterator[str]:
    """A server with limits of its own that answers anything with so many bytes; yields its address."""

    class Echo(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda *_: bytes(answer_bytes))

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=(Echo(),), options=options)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def test_a_request_that_is_too_large_for_the_server_says_so_and_is_not_called_overload(script: Script) -> None:
    text = r"the request has 5,000,0\d\d bytes, and the server takes 4,194,304 .*MESSAGE_BYTES\): send less at once"
    with Client(script.address) as client, pytest.raises(TooLarge, match=text) as caught:
        client.model("a" * 5_000_000)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert script.requests == []


@pytest.mark.parametrize(
    ("request_bytes", "answer_bytes", "server", "client", "text"),
    [
        (100, 5, (), (("grpc.max_send_message_length", 50),), "the request has .* this client sends 50 bytes at most"),
        (5, 100, (), (("grpc.max_receive_message_length", 50),), "the answer has 100 bytes, and this client takes 50 "),
        (5, 100, (("grpc.max_send_message_length", 50),), (), "the answer has 100 bytes, and the server sends 50 "),
    ],
    ids=["too much asked", "too much for the client", "too much for the server"],
)
def test_whoever_refuses_a_message_is_named(
    monkeypatch: pytest.MonkeyPatch, request_bytes: int, answer_bytes: int, server: Any, client: Any, text: str
) -> None:
    monkeypatch.setattr("mintage._client.channels.OPTIONS", client)
    with echoing(answer_bytes, *server) as address, Client(address) as asking, pytest.raises(TooLarge, match=text):
        asking.model("a" * request_bytes)


def test_a_connection_that_ends_under_a_call_is_told_so() -> None:
    """As of a server that is killed: it has taken the call and will not answer it."""

    def hang_up() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # the settings of HTTP/2, without which no call is sent
            came = b""
            while b"/GetModel" not in came:
                came += connection.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=hang_up)
        server.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with (
            Client(address, retries=Retries(attempts=1)) as client,
            pytest.raises(Unavailable, match=r"the connection ended before the answer came; .* then ask again"),
        ):
            client.model("a")
        server.join()


def test_a_server_that_is_not_there_has_ended_no_connection() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(address, retries=Retries(attempts=1)) as client, pytest.raises(Unavailable) as caught:
            client.model("a")
    assert "ended" not in caught.value.message


@pytest.mark.parametrize("timeout_s", [math.inf, 1e300, 1e12])
def test_a_time_limit_without_end_is_none(script: Script, timeout_s: float) -> None:
    script.then(answers)
    with Client(script.address, timeout_s=timeout_s) as client:
        assert client.model("a").name == "models/a"


def test_a_time_limit_that_is_no_number_is_refused(script: Script) -> None:
    with Client(script.address, timeout_s=math.nan) as client, pytest.raises(InputError, match="timeout_s"):
        client.model("a")


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_pillow_images_of_every_mode_with_a_range_are_sent(mode: str) -> None:
    from mintage.pictures import upload_of

    [file] = upload_of(Image.new(mode, (3, 2)))["encoded"].files
    assert file.startswith(b"\x89PNG")


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_other_pillow_images_are_refused_with_what_to_do(mode: str) -> None:
    from mintage.pictures import upload_of

    with pytest.raises(InputError, match=f"mode {mode} .* convert it to L or RGB"):
        upload_of(Image.new(mode, (3, 2)))


def test_an_array_of_one_image_needs_no_further_axis() -> None:
    from mintage.pictures import upload_of

    for channels in (1, 3):
        image = np.arange(6 * channels, dtype=np.uint8).reshape(2, 3, channels)
        assert upload_of(image) == upload_of(image[np.newaxis])
    with pytest.raises(InputError, match=r"must be uint8 \[N, H, W, C\], not uint8 \[5, 3, 2\]"):
        upload_of(np.zeros((5, 3, 2), np.uint8))
