"""Frames as values: the words of the protocol, and what a frame answers about itself."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame, UnsupportedVersion
from sockbridge.stomp.frame import (
    COMMANDS,
    RESERVED,
    UNESCAPED,
    WITH_BODY,
    AckMode,
    Command,
    Frame,
    Version,
    choose_version,
    is_reserved,
    printable,
    require,
    trimmed,
)

CLIENT_COMMANDS = (
    "CONNECT STOMP SEND SUBSCRIBE UNSUBSCRIBE ACK NACK BEGIN COMMIT ABORT DISCONNECT"  # STOMP 1.2, "Client Frames"
)
SERVER_COMMANDS = "CONNECTED MESSAGE RECEIPT ERROR"  # STOMP 1.2, "Server Frames"


def test_the_commands_are_those_of_the_specification() -> None:
    """STOMP 1.2, "Augmented BNF": client-command, server-command."""
    assert set(COMMANDS) == {*CLIENT_COMMANDS.split(), *SERVER_COMMANDS.split()}
    assert all(command.value == name for name, command in COMMANDS.items())


def test_a_command_is_found_in_its_own_case_only() -> None:
    """Commands are case sensitive."""
    assert "SEND" in COMMANDS
    assert "send" not in COMMANDS


def test_versions_and_ack_modes_are_spelled_as_on_the_wire() -> None:
    assert [str(version) for version in Version] == ["1.0", "1.1", "1.2"]
    assert [str(mode) for mode in AckMode] == ["auto", "client", "client-individual"]


@pytest.mark.parametrize(
    ("accepted", "version"),
    [
        (None, "1.0"),
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.1,1.0", "1.1"),
        (" 1.0 , 1.1 ", "1.1"),
        ("1.0, 2.0, 1.1", "1.1"),
        ("1.1,1.1,,nonsense", "1.1"),
        ("1.2,", "1.2"),
        ("2.0,1.0", "1.0"),
    ],
)
def test_the_highest_version_in_common_is_chosen(accepted: str | None, version: str) -> None:
    """STOMP 1.2, "Protocol Negotiation"; a client that names none speaks 1.0."""
    assert choose_version(accepted) is Version(version)


@pytest.mark.parametrize("accepted", ["", " ", ",", "2.0", "1", "1.20", "01.2", "1.2.0", "v1.2", "1.2;1.1", "1.1 1.2"])
def test_no_version_in_common_is_a_fault_that_names_those_there_are(accepted: str) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        choose_version(accepted)
    assert caught.value.supported == "1.0,1.1,1.2"


def test_a_client_of_any_length_of_versions_is_told_briefly() -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        choose_version("9," * 4000)
    assert len(str(caught.value)) < 250


def test_only_send_message_and_error_have_a_body() -> None:
    """STOMP 1.2, "Body"."""
    assert {"SEND", "MESSAGE", "ERROR"} == WITH_BODY


def test_what_is_said_before_the_version_is_known_is_never_escaped() -> None:
    """STOMP 1.2, "Value Encoding"; STOMP is the same frame as CONNECT."""
    assert {"CONNECT", "STOMP", "CONNECTED"} == UNESCAPED


@pytest.mark.parametrize(
    "name", ["message-id", "subscription", "ack", "receipt", "receipt-id", "transaction", "content-length", "passcode"]
)
def test_what_the_server_sets_in_a_message_is_reserved(name: str) -> None:
    assert name in RESERVED
    assert is_reserved(name)


@pytest.mark.parametrize(
    "name",
    [
        "redelivered",
        "x-delivery-count",
        "x-epoch",
        "x-first-death-count",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-missed",
        "x-offset",
    ],
)
def test_what_a_broker_says_of_a_message_cannot_be_said_by_others(name: str) -> None:
    assert is_reserved(name)
    assert not is_reserved(f"{name}s")


@pytest.mark.parametrize("name", ["expiration", "prefetch-count", "x-since", "durable", "requeue", "client-id"])
def test_what_a_client_asks_of_a_broker_is_its_own_to_write(name: str) -> None:
    assert not is_reserved(name)


@pytest.mark.parametrize(
    "name", [" receipt", "message-id\t", "\n ack \r", "\u00a0subscription", "\ufeffack\u3000", "ack\x1f"]
)
def test_blanks_do_not_lead_around_what_is_reserved(name: str) -> None:
    """stompjs and clients of 1.0 drop them from names, so a subscriber would see the server's own header."""
    assert name not in RESERVED
    assert is_reserved(name)


def test_a_header_of_the_application_is_not_reserved() -> None:
    """STOMP 1.2, SEND: what a client adds reappears in the MESSAGE."""
    assert not {"priority", "reply-to", "correlation-id", "custom"} & RESERVED
    assert not any(map(is_reserved, ["priority", "Receipt", "x-ack", "message id", "", " "]))


def test_a_frame_begins_without_headers_and_body() -> None:
    frame = Frame(Command.BEGIN)
    assert (frame.headers, frame.body, frame.raw) == ({}, b"", None)
    frame.headers["transaction"] = "t1"
    assert Frame(Command.BEGIN).headers == {}  # each has a dict of its own


def test_a_frame_knows_its_destination() -> None:
    assert Frame(Command.SEND, {"destination": "/topic/a"}).destination == "/topic/a"
    assert Frame(Command.SEND).destination == ""


def test_no_receipt_differs_from_an_empty_one() -> None:
    assert Frame(Command.SEND).receipt is None
    assert Frame(Command.SEND, {"receipt": ""}).receipt == ""


def test_verbatim_prefers_what_the_client_wrote() -> None:
    frame = Frame(Command.SUBSCRIBE, {"id": "a:b", "receipt": "plain"}, b"", {"id": "a\\cb"})
    assert frame.verbatim("id") == "a\\cb"
    assert frame.verbatim("receipt") == "plain"
    assert frame.verbatim("ack") == ""


def test_verbatim_of_a_frame_without_raw_values_is_the_header() -> None:
    frame = Frame(Command.SUBSCRIBE, {"id": "sub-0"})
    assert frame.verbatim("id") == "sub-0"
    assert frame.verbatim("receipt") == ""


def test_a_receipt_is_also_told_as_written() -> None:
    assert Frame(Command.SEND, {"receipt": "a:b"}, b"", {"receipt": "a\\cb"}).written_receipt == "a\\cb"
    assert Frame(Command.SEND, {"receipt": "plain"}, b"", {"id": "x"}).written_receipt == "plain"
    assert Frame(Command.SEND, {"receipt": ""}).written_receipt == ""
    assert Frame(Command.SEND, {"id": "1"}).written_receipt is None


def test_a_header_that_is_required_is_there_and_not_empty() -> None:
    frame = Frame(Command.SUBSCRIBE, {"id": "", "destination": "/a"})
    assert require(frame, "destination") == "/a"
    with pytest.raises(BadFrame, match=r"^SUBSCRIBE without id$"):
        require(frame, "id")
    with pytest.raises(BadFrame, match=r"^SUBSCRIBE without ack$"):
        require(frame, "ack")


@pytest.mark.parametrize("text", ["a", " a", "a\t", "\u00a0a\u3000", "\ufeffa\x1f", "\n a \r"])
def test_blanks_around_a_text_count_for_nothing(text: str) -> None:
    assert trimmed(text) == "a"


def test_blanks_within_a_text_stay() -> None:
    assert trimmed(" a b ") == "a b"
    assert trimmed("   ") == ""


def test_what_a_client_wrote_cannot_end_a_line_of_the_log() -> None:
    assert printable("a\nb\r\x1b[31m\u2028c\x00") == "a?b??[31m?c?"
    assert printable("h\u00e9llo") == "h\u00e9llo"
    assert printable(BadFrame("no", "x" * 5000)) == f"no: {'x' * 496}"


@pytest.mark.parametrize("command", [Command.CONNECT, Command.STOMP])
def test_a_frame_of_a_login_shows_no_secret(command: Command) -> None:
    frame = Frame(command, {"login": "ann", "passcode": "SECRET", "token": "SECRET"})
    assert repr(frame) == f"Frame({command}, {{'login': 'ann', 'passcode': '...', 'token': '...'}}, b'')"
    assert repr(Frame(Command.SEND, {"a": "b"}, b"x")) == "Frame(SEND, {'a': 'b'}, b'x')"
