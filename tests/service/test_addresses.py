from __future__ import annotations

import socket

import pytest

from service.addresses import Address, free_port, read_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051)),
        ("localhost:1", Address("localhost", 1)),
        ("torch_serve.back.example.:65535", Address("torch_serve.back.example.", 65535)),
        ("[::1]:7070", Address("::1", 7070)),
        ("[fe80::1%eth0]:7070", Address("fe80::1%eth0", 7070)),
    ],
)
def test_an_address_is_read_and_written_again(text: str, expected: Address) -> None:
    assert read_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("foo", "must be host:port"),
        ("", "must be host:port"),
        (":50051", "must be host:port"),
        ("127.0.0.1:", "a port from 1 to 65535"),
        ("127.0.0.1:0", "a port from 1 to 65535"),
        ("127.0.0.1:-1", "a port from 1 to 65535"),
        ("127.0.0.1:99999", "a port from 1 to 65535"),
        ("127.0.0.1:http", "a port from 1 to 65535"),
        ("127.0.0.1:\uff15\uff10", "a port from 1 to 65535"),
        ("::1:50051", "must stand in brackets"),
        ("[127.0.0.1]:50051", "127.0.0.1"),
        ("127.0.0.256:50051", "127.0.0.256"),
        ("http://host:50051", "must stand in brackets"),
        ("ho st:50051", "a host's name or number"),
        ("unix/x:50051", "a host's name or number"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_address(text)


def test_port_0_is_one_where_any_will_do() -> None:
    assert read_address("127.0.0.1:0", lowest_port=0) == Address("127.0.0.1", 0)


def test_a_process_that_listens_everywhere_is_reached_on_the_loopback() -> None:
    assert str(read_address("0.0.0.0:7").reachable) == "127.0.0.1:7"
    assert str(read_address("[::]:7").reachable) == "[::1]:7"
    assert str(read_address("host:7").reachable) == "host:7"


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port()))
