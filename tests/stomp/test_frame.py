"""Frames as values: the words of the protocol, and what a frame answers about itself."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.frame import (
    COMMANDS,
    RESERVED,
    UNESCAPED,
    WITH_BODY,
    AckMode,
    Command,
    Frame,
    Version,
    is_reserved,
    require,
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
