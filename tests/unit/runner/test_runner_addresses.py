"""Addresses and headers are read once; what logs in is never part of what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from defectforge.runner import process_title
from defectforge.runner.errors import RequestError
from defectforge.runner.servers.address import parse, read_headers, shown


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("gpu1:8188", "http://gpu1:8188"),
        ("http://gpu1:8188/", "http://gpu1:8188"),
        ("https://gpu1/comfy/", "https://gpu1/comfy"),
        (" 10.0.0.1:8188 ", "http://10.0.0.1:8188"),
        ("http://[::1]:8188", "http://[::1]:8188"),
        ("http://bücher.example:8188", "http://bücher.example:8188"),
        ("http://user:pass%2Fword@gpu1:8188/a", "http://gpu1:8188/a"),
    ],
)
def test_addresses_are_completed_and_hold_no_log_in(given: str, url: str) -> None:
    assert parse(given).url == url
    assert parse(given).websocket_url.startswith("ws")


def test_user_and_password_become_a_header_and_can_be_hidden() -> None:
    address = parse("https://user:p%C3%A4ss%3A1@gpu1")
    assert address.headers == (("Authorization", "Basic dXNlcjpww6Rzczox"),)
    assert address.hide("päss:1 p%C3%A4ss%3A1 dXNlcjpww6Rzczox") == "*** *** ***"
    assert "päss" not in repr(address) and "dXNlcjpww6Rzczox" not in repr(address)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        "http://",
        "http://[::1",
        "http://[zz]:1",
        "::1",
        "ftp://gpu1",
        "http://gpu1:99999",
        "http://gpu1:0",
        "http://gpu1:",
        "http://gpu1:port",
        "http://gpu1/?a=1",
        "http://gpu1/#a",
        "http://a b",
        "http://a\nb",
        "http://a\x00b",
        "http://" + "a" * 64,
        "http://" + "a." * 200,
        "http://..",
        "http://user:geheim@",
        "http://user:ge/heim@gpu1",
        "http://user:geheim@gpu1:99999",
        "http://user:geheim@[::1",
        "http://gpu1/?token=geheim",
        "user:geheim@gpu1 x",
    ],
)
def test_what_is_no_address_is_refused_without_showing_a_password(wrong: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(wrong)
    assert "heim" not in caught.value.text()
    assert "to mend it" in caught.value.text()
    assert "heim" not in shown(wrong)


def test_two_log_ins_are_one_too_many() -> None:
    with pytest.raises(RequestError, match="one of the two"):
        parse("http://user:geheim@gpu1", [("authorization", "Bearer x")])


def test_a_file_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTFORGE_HEADERS", "A: 1\nB: 2")
    (tmp_path / "h").write_bytes("\ufeff# comment\r\nb: 3:4\r\n\r\n".encode())
    assert read_headers(tmp_path / "h") == (("A", "1"), ("b", "3:4"))
    with pytest.raises(RequestError, match="cannot be read"):
        read_headers(tmp_path / "none")
    with pytest.raises(RequestError, match="cannot be read"):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ("run\0--server\0http://u:pw@h:1\0--json\0", "run\0--server\0http://****@h:1\0--json\0"),
        ("run\0--server=http://u:p@w@h\0x@y\0", "run\0--server=http://*****@h\0x@y\0"),
        ("run\0--server\0u:pw@h\0", "run\0--server\0****@h\0"),
        ("run\0--data\0a@b\0", "run\0--data\0a@b\0"),
    ],
)
def test_log_ins_are_found_among_the_arguments(arguments: str, left: str) -> None:
    raw = bytearray(arguments.encode())
    for first, last in process_title.logins(bytes(raw)):
        raw[first:last] = b"*" * (last - first)
    assert raw.decode() == left
