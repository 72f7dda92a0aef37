"""Section 1: frames as octets: line ends, escapes, bodies, lengths, pieces."""

from __future__ import annotations

import json

import pytest

from sockbridge.stomp import Login, User

from .clients import Client, SockjsWebsocketClient
from .site import ALL_CARRIERS, VERSIONS, WITH_POLLING, Site, serve_stomp

MODERN = ("1.1", "1.2")


async def send_raw(client: Client, lines: str) -> None:
    """A SEND whose header lines are written as they are."""
    await client.write(f"SEND\ndestination:/topic/a\n{lines}\n\0")


async def heard(site: Site, publisher: Client, lines: str, version: str = "1.2") -> dict[str, str]:
    """The headers that a subscriber of ``version`` gets for a SEND with ``lines``."""
    subscriber = await site.connect("tcp", version)
    await subscriber.subscribe("/topic/a")
    await send_raw(publisher, lines)
    return dict((await subscriber.message()).headers)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_frame_of_the_server_is_exactly_one_message_of_its_carrier(site: Site, carrier: str) -> None:
    """Rule 1.1: STOMP 1.2, "STOMP Frames"; stomp.js reads nothing else, React Native loses the rest."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    publisher = await site.connect("tcp")
    for number in range(20):
        await publisher.publish("/topic/a", str(number))
    assert [frame.text for frame in await client.messages(20)] == [str(number) for number in range(20)]


@pytest.mark.parametrize("command", ["send", "Send", "SENDX", "SEN", "PING", "", " SEND", "SÉND"])
async def test_commands_are_known_by_their_exact_letters(site: Site, command: str) -> None:
    """Rule 1.2: STOMP 1.2, "STOMP Frames": case sensitive."""
    client = await site.connect("tcp")
    await client.write(f"{command}\ndestination:/topic/a\n\n\0")
    await client.refused("unknown command" if command else "")


async def test_header_names_are_known_by_their_exact_letters(site: Site) -> None:
    """Rule 1.2."""
    client = await site.connect("tcp")
    await client.write("SEND\nDestination:/topic/a\n\n\0")
    await client.refused("SEND without destination")


@pytest.mark.parametrize("version", VERSIONS)
async def test_lines_may_end_in_crlf(site: Site, version: str) -> None:
    """Rule 1.3: STOMP 1.2, "STOMP Frames"; in 1.0 and 1.1 a tolerance."""
    client = await site.open("tcp")
    await client.write(f"CONNECT\r\naccept-version:{version}\r\n\r\n\0")
    await client.connected()
    await client.subscribe("/topic/a")
    await client.write("\r\nSEND\r\ndestination:/topic/a\nx:1\r\n\r\n\r\nbody\0")
    frame = await client.message()
    assert (frame.headers["destination"], frame.headers["x"], frame.body) == ("/topic/a", "1", b"\r\nbody")


@pytest.mark.parametrize("version", VERSIONS)
async def test_between_frames_line_ends_and_nuls_are_skipped(site: Site, version: str) -> None:
    """Rule 1.4: STOMP 1.2, "STOMP Frames" for line ends; NULs are a tolerance."""
    client = await site.open("tcp")
    await client.write("\n\r\n\0")
    await client.connect(version)
    await client.subscribe("/topic/a")
    await client.write("\n\n\0\r\nSEND\ndestination:/topic/a\n\n1\0\0\n\0\nSEND\ndestination:/topic/a\n\n2\0\n")
    assert [frame.body for frame in await client.messages(2)] == [b"1", b"2"]


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("receiver", MODERN)
@pytest.mark.parametrize("sender", MODERN)
async def test_header_values_and_names_survive_escaping(site: Site, sender: str, receiver: str, carrier: str) -> None:
    """Rule 1.5: STOMP 1.2 and 1.1, "Value Encoding"."""
    odd = {"a:b": "c:d", "back\\slash": "C:\\new\\", "line\nend": "1\n2", "\\n": "\\c", "ü": "\u2028\u20ac\U0001f600"}
    publisher = await site.connect(carrier, sender)
    subscriber = await site.connect(carrier, receiver)
    await subscriber.subscribe("/topic/a")
    await publisher.publish("/topic/a", "", **odd)
    frame = await subscriber.message()
    assert {name: frame.headers[name] for name in odd} == odd
    assert b"a\\cb:c\\cd\n" in frame.wire


async def test_a_carriage_return_has_an_escape_in_1_2(site: Site) -> None:
    """Rule 1.6: STOMP 1.2, "Value Encoding"; 1.1 has none, so there it stays the octet."""
    publisher = await site.connect("tcp", "1.2")
    assert (await heard(site, publisher, "x:a\\rb\n", "1.2"))["x"] == "a\rb"
    assert (await heard(site, publisher, "x:a\\rb\n", "1.1"))["x"] == "a\rb"


@pytest.mark.parametrize("receiver", VERSIONS)
async def test_in_1_0_a_backslash_is_a_backslash(site: Site, receiver: str) -> None:
    """Rule 1.7: STOMP 1.0 knows no escapes; a receiver of a later version gets it escaped."""
    publisher = await site.connect("tcp", "1.0")
    assert (await heard(site, publisher, "x:a\\b\\n\\\n", receiver))["x"] == "a\\b\\n\\"


async def test_what_1_0_cannot_say_never_breaks_its_frames(site: Site) -> None:
    """Rule 1.8: sockbridge's own: line ends become blanks, a name with a colon is left out."""
    publisher = await site.connect("tcp", "1.2")
    headers = await heard(site, publisher, "x:1\\n2\\r3\na\\cb:4\n", "1.0")
    assert headers["x"] == "1 2 3"
    assert not {"a", "a:b"} & set(headers)


@pytest.mark.parametrize(
    ("version", "line"),
    [
        *((version, line) for version in MODERN for line in ("x:\\t", "x:\\", "x\\q:1", "x:\\C", "x:a\\\\\\")),
        ("1.1", "x:\\r"),
    ],
)
async def test_an_undefined_escape_is_an_error(site: Site, version: str, line: str) -> None:
    """Rule 1.9: STOMP 1.2 and 1.1, "Value Encoding": a fatal protocol error."""
    client = await site.connect("tcp", version)
    await send_raw(client, f"{line}\n")
    await client.refused("undefined escape")


@pytest.mark.parametrize(("wire", "value"), [("C\\c\\\\new", "C:\\new"), ("a\\\\cb", "a\\cb"), ("\\\\\\n", "\\\n")])
async def test_escapes_are_read_from_left_to_right_and_once(site: Site, wire: str, value: str) -> None:
    """Rule 1.10: STOMP 1.2, "Value Encoding"."""
    publisher = await site.connect("tcp")
    assert (await heard(site, publisher, f"x:{wire}\n"))["x"] == value


async def test_an_unescaped_colon_in_a_value_is_taken(site: Site) -> None:
    """Rule 1.11: a tolerance; stomp.js and webstomp never escape. It goes out escaped."""
    publisher = await site.connect("tcp")
    assert (await heard(site, publisher, "x:12:30:00\n"))["x"] == "12:30:00"


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_is_trimmed_but_in_1_0(site: Site, version: str) -> None:
    """Rule 1.12: STOMP 1.2, "STOMP Frames": no trimming or padding; 1.0's examples have blanks."""
    publisher = await site.connect("tcp", version)
    headers = await heard(site, publisher, " x : 1 \ny:\n")
    assert headers["y"] == ""
    assert headers.get(" x ", headers.get("x")) == ("1" if version == "1.0" else " 1 ")


@pytest.mark.parametrize("version", VERSIONS)
async def test_of_repeated_headers_the_first_counts(site: Site, version: str) -> None:
    """Rule 1.13: STOMP 1.2, "Repeated Header Entries"."""
    publisher = await site.connect("tcp", version)
    assert (await heard(site, publisher, "x:new\nx:old\ndestination:/topic/b\n"))["x"] == "new"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("line", ["nothing", ":value", " "])
async def test_a_header_needs_a_name_and_a_colon(site: Site, version: str, line: str) -> None:
    """Rule 1.14: STOMP 1.2, "Augmented BNF"."""
    client = await site.connect("tcp", version)
    await send_raw(client, f"{line}\n")
    await client.refused("header without name and colon")


async def test_a_lone_carriage_return_in_a_header_is_an_error(site: Site) -> None:
    """Rule 1.15: STOMP 1.2, "Augmented BNF"."""
    client = await site.connect("tcp", "1.2")
    await send_raw(client, "x:a\rb\n")
    await client.refused("carriage return")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_body_of_known_length_may_hold_nuls(site: Site, version: str, carrier: str) -> None:
    """Rule 1.16: STOMP 1.2, "Header content-length": so many octets, then NUL."""
    client = await site.connect(carrier, version)
    await client.subscribe("/topic/a")
    body = "\0ä\0SEND\n\n\0"
    await client.publish("/topic/a", body, **{"content-length": str(len(body.encode()))})
    await client.publish("/topic/a", "next")
    first, second = await client.messages(2)
    assert (first.text, second.text) == (body, "next")
    assert first.headers["content-length"] == str(len(body.encode()))


async def test_without_a_length_the_body_ends_at_the_first_nul(site: Site) -> None:
    """Rule 1.17: STOMP 1.2, "Body"; what follows must be a frame again."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a")
    await client.write("SEND\ndestination:/topic/a\n\none\0two\0")
    assert (await client.message()).text == "one"
    await client.refused("NUL before the empty line")


@pytest.mark.parametrize("length", ["2", "0"])
async def test_a_length_that_does_not_end_at_a_nul_is_an_error(site: Site, length: str) -> None:
    """Rule 1.18: STOMP 1.2, "Header content-length"; where the next frame begins is unknown."""
    client = await site.connect("tcp")
    await client.publish("/topic/a", "body", **{"content-length": length, "receipt": "r"})
    assert (await client.refused("no NUL after the body")).headers["receipt-id"] == "r"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("length", ["-1", "+4", "four", "", "4.0", "1_0", "0x4", "٤", "4;"])
async def test_a_length_is_digits(site: Site, length: str, version: str) -> None:
    """Rule 1.19: STOMP 1.2, "Augmented BNF"."""
    client = await site.connect("tcp", version)
    await client.publish("/topic/a", "body", **{"content-length": length})
    await client.refused("content-length is no number")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_every_message_says_how_many_octets_it_has(site: Site, carrier: str) -> None:
    """Rule 1.20: STOMP 1.2, "Header content-length": SHOULD; octets, not characters."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    for body in ("", "wörld", "\U0001f600"):
        await client.publish("/topic/a", body)
        frame = await client.message()
        assert frame.headers["content-length"] == str(len(body.encode()))
        assert frame.text == body


@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("frame", ["SUBSCRIBE\nid:1\ndestination:/topic/a\n", "BEGIN\ntransaction:t\n", "DISCONNECT\n"])
async def test_only_a_send_may_have_a_body(site: Site, frame: str, version: str) -> None:
    """Rule 1.21: STOMP 1.2 and 1.1, "Body"."""
    client = await site.connect("tcp", version)
    await client.write(f"{frame}\nbody\0")
    await client.refused("has no body")
    client = await site.connect("tcp", version)
    await client.write(f"{frame}content-length:4\n\n")
    await client.refused("has no body")


async def test_in_1_0_a_body_where_none_belongs_is_ignored(site: Site) -> None:
    """Rule 1.22: STOMP 1.0, "SUBSCRIBE": the body is ignored."""
    client = await site.connect("tcp", "1.0")
    await client.write("SUBSCRIBE\nid:1\ndestination:/topic/a\n\nbody\0")
    await client.publish("/topic/a", "heard")
    assert (await client.message()).text == "heard"


async def test_headers_are_utf8(site: Site) -> None:
    """Rule 1.23: STOMP 1.2, "Value Encoding"."""
    client = await site.connect("tcp")
    await client.write(b"SEND\ndestination:/topic/a\nx:\xff\n\n\0")
    await client.refused("header is not UTF-8")


@pytest.mark.parametrize("carrier", ["tcp", "mounted", "websocket"])
async def test_bodies_are_octets_of_any_kind(site: Site, carrier: str) -> None:
    """Rule 1.24: STOMP 1.2, "Body"."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    body = bytes(range(256))
    await client.publish("/topic/a", body, **{"content-length": "256"})
    assert (await client.message()).body == body


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_frame_may_come_in_pieces_and_several_at_once(site: Site, carrier: str) -> None:
    """Rule 1.25: STOMP knows no messages of a carrier; webstomp cuts frames after 16 KiB."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    frame = "\nSEND\ndestination:/topic/a\nx:\\c\n\nbody\0\r\n"
    await client.write(*frame)
    await client.write(frame * 3)
    await client.write(frame[:20], frame[20:] + frame[:30], frame[30:])
    for message in await client.messages(6):
        assert (message.headers["x"], message.text) == (":", "body")


@pytest.mark.parametrize("carrier", ["sockjs", "xhr_streaming", "xhr"])
async def test_halves_of_a_character_become_one_again(site: Site, carrier: str) -> None:
    """Rule 1.26: sockbridge's own; browsers cut at UTF-16 units, and SockJS carries each half as it is."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    body = "a\U0001f600b"
    await client.write("SEND\ndestination:/topic/a\ncontent-length:6\n\na\ud83d", "\ude00b\0")
    assert (await client.message()).text == body


async def test_half_a_character_that_stays_alone_harms_only_itself(site: Site) -> None:
    """Rule 1.26."""
    client = await site.connect("sockjs")
    assert isinstance(client, SockjsWebsocketClient)
    await client.subscribe("/topic/a")
    await client.socket.send_str(json.dumps(["SEND\ndestination:/topic/a\n\na\ud83d", "b\0"]))
    assert (await client.message()).text == "a\ufffdb"


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_connect_and_connected_are_never_escaped(carrier: str) -> None:
    """Rule 1.27: STOMP 1.2, "Value Encoding": for the sake of 1.0."""

    async def authenticate(login: Login) -> User | None:
        return User("Re:gina\\n") if login.passcode == "a:b\\c\\\\d" else None

    async with serve_stomp(authenticate=authenticate) as site:
        client = await site.open(carrier)
        await client.write("CONNECT\naccept-version:1.2\nlogin:x\npasscode:a:b\\c\\\\d\n\n\0")
        assert (await client.connected()).headers["user-name"] == "Re:gina\\n"
