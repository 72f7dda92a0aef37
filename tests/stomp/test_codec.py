"""Octets to frames and back: the grammar of three versions, limits, pieces of any size, and input that is bad."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbridge.errors import BadFrame
from sockbridge.sockjs.framing import FRAMED, RAW, Binary
from sockbridge.stomp.codec import DIALECTS, Decoder, Dialect, Limits, PreparedMessage, dialect
from sockbridge.stomp.frame import UNESCAPED, WITH_BODY, Command, Frame, Version
from sockbridge.stomp.options import StompOptions

KIB = 1024
LIMITS = Limits.of(StompOptions())
V1_0, V1_1, V1_2 = Version
every_version = pytest.mark.parametrize("version", list(Version))
later_versions = pytest.mark.parametrize("version", [V1_1, V1_2])


def frames_of(decoder: Decoder) -> list[Frame]:
    """The frames that are complete."""
    return list(iter(decoder.next_frame, None))


def decode(*pieces: str | bytes, version: Version = V1_2, limits: Limits = LIMITS) -> list[Frame]:
    """The frames in ``pieces``, fed one after the other."""
    decoder = Decoder(limits, version)
    frames = []
    for piece in pieces:
        decoder.feed(piece)
        frames += frames_of(decoder)
    return frames


def decode_one(*pieces: str | bytes, version: Version = V1_2, limits: Limits = LIMITS) -> Frame:
    (frame,) = decode(*pieces, version=version, limits=limits)
    return frame


def refusal(*pieces: str | bytes, version: Version = V1_2, limits: Limits = LIMITS) -> BadFrame:
    """The error that ``pieces`` meet."""
    with pytest.raises(BadFrame) as caught:
        decode(*pieces, version=version, limits=limits)
    return caught.value


def outcome(
    pieces: Iterable[str | bytes], version: Version = V1_2, limits: Limits = LIMITS
) -> tuple[list[Frame], bool]:
    """The frames in ``pieces`` up to the first fault, and whether there was one."""
    decoder = Decoder(limits, version)
    frames: list[Frame] = []
    for piece in pieces:
        decoder.feed(piece)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except BadFrame:
            return frames, True
    return frames, False


def octets(data: bytes) -> list[bytes]:
    """``data`` in pieces of one byte."""
    return [data[index : index + 1] for index in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in the pieces between ``places``."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


def headers_of(lines: bytes, version: Version = V1_2) -> dict[str, str]:
    """What a SEND with the header ``lines`` has for headers; read whole and octet by octet."""
    data = b"SEND\n" + lines + b"\n\n\0"
    frame = decode_one(data, version=version)
    assert decode(*octets(data), version=version) == [frame]
    return frame.headers


# Frames.


@every_version
@pytest.mark.parametrize("command", list(Command))
def test_every_command_is_read_in_every_version(command: Command, version: Version) -> None:
    assert decode_one(f"{command}\n\n\0", version=version) == Frame(command)
    assert decode_one(f"{command}\nname:value\n\n\0", version=version) == Frame(command, {"name": "value"})


@every_version
@pytest.mark.parametrize(
    "line", ["send", "Send", "connect", "SENDX", "SEN", " SEND", "SEND ", "CONNECT:", "\r\r", "\ufeffSEND", "SEND\v"]
)
def test_an_unknown_command_is_refused(line: str, version: Version) -> None:
    """STOMP 1.2, "STOMP Frames": commands are case sensitive."""
    assert refusal(f"{line}\n\n\0", version=version).message == "unknown command"
    assert refusal(f"{line}\r\na:b\r\n\r\n\0", version=version).message == "unknown command"


def test_an_unknown_command_is_quoted_in_ascii_and_cut() -> None:
    assert refusal("GÉT /\n\n\0").detail == r"'G\xc9T /'"
    assert refusal(b"\xff\xfe\n\n\0").detail == r"'\ufffd\ufffd'"
    assert len(refusal(b"x" * 10_000).detail) == 34


def test_an_object_that_became_text_is_explained() -> None:
    """Browsers turn what is no string into ``[object Blob]`` before SockJS sees it."""
    assert refusal("[object ArrayBuffer]").detail.startswith("SockJS carries text")
    assert refusal("[object Blob]\n\n\0").detail.startswith("SockJS carries text")


def test_a_line_too_long_for_any_command_is_refused_at_once() -> None:
    assert decode("UNSUBSCRIBE\r") == []
    assert refusal("UNSUBSCRIBE\rX").message == "unknown command"
    assert refusal("GET / HTTP/1.1").message == "unknown command"


def test_a_wrong_command_is_refused_before_its_head_is_complete() -> None:
    assert refusal("get\n").message == "unknown command"


@every_version
def test_several_frames_in_one_piece_come_one_by_one(version: Version) -> None:
    decoder = Decoder(LIMITS, version)
    decoder.feed("SEND\ndestination:/a\n\none\0SEND\ndestination:/b\n\ntwo\0SEND\n")
    assert [frame.body for frame in frames_of(decoder)] == [b"one", b"two"]
    assert decoder.buffered == len("SEND\n")
    assert decoder.next_frame() is None
    decoder.feed("\n\0")
    assert decoder.next_frame() == Frame(Command.SEND)
    assert decoder.buffered == 0


@every_version
@pytest.mark.parametrize("gap", ["\n", "\r\n", "\n\n\r\n\n", "\0", "\n\0", "\0\0\n\r\n\0"])
def test_line_ends_and_nuls_between_frames_are_skipped(gap: str, version: Version) -> None:
    """STOMP 1.2, "Augmented BNF": frame = ... NULL *( EOL ); React Native appends NULs."""
    data = f"{gap}SEND\n\none\0{gap}SEND\n\ntwo\0{gap}".encode()
    assert [frame.body for frame in decode(data, version=version)] == [b"one", b"two"]
    assert [frame.body for frame in decode(*octets(data), version=version)] == [b"one", b"two"]


def test_heart_beats_leave_nothing_behind() -> None:
    decoder = Decoder(LIMITS)
    for beat in ("\n", "\r\n", b"\n", "\r", "\n", ""):
        decoder.feed(beat)
        assert decoder.next_frame() is None
    assert decoder.buffered == 0


@every_version
@pytest.mark.parametrize("gap", ["\r", "\r\r\n", " \n", "\t\n", "\n\r"])
def test_other_blanks_between_frames_are_refused(gap: str, version: Version) -> None:
    assert refusal(f"SEND\n\n\0{gap}SEND\n\n\0", version=version).message == "unknown command"


# Line ends.


@every_version
@pytest.mark.parametrize(
    "head",
    [
        "SEND\r\na:1\r\nb:2\r\n\r\n",
        "SEND\r\na:1\nb:2\r\n\n",
        "SEND\na:1\nb:2\n\r\n",
        "SEND\na:1\r\nb:2\n\n",
        "SEND\r\na:1\nb:2\n\n",
    ],
)
def test_lines_end_in_lf_or_cr_lf_mixed_at_will(head: str, version: Version) -> None:
    """STOMP 1.2, "Augmented BNF": EOL = [CR] LF. In 1.0 and 1.1 a tolerance."""
    data = f"{head}body\0".encode()
    expected = Frame(Command.SEND, {"a": "1", "b": "2"}, b"body")
    assert decode(data, version=version) == [expected]
    assert decode(*octets(data), version=version) == [expected]


@every_version
@pytest.mark.parametrize("end_of_head", [b"\n\n", b"\n\r\n", b"\r\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("body", [b"\n", b"\nbody", b"\r\n", b"\r\nbody", b"\n\n", b"\r", b"\n\r\n\r\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("head", [b"SEND", b"SEND\na:1", b"SEND\r\na:1"])
def test_the_first_empty_line_ends_the_head_whatever_the_body_begins_with(
    head: bytes, body: bytes, end_of_head: bytes, version: Version
) -> None:
    data = head + end_of_head + body + b"\0"
    assert decode_one(data, version=version).body == body
    assert decode_one(*octets(data), version=version).body == body


@every_version
def test_a_frame_without_headers_may_end_its_lines_in_cr_lf(version: Version) -> None:
    assert decode("BEGIN\r\n\r\n\0BEGIN\r\n\n\0BEGIN\n\r\n\0", version=version) == [Frame(Command.BEGIN)] * 3


@pytest.mark.parametrize("lines", [b"a:x\ry", b"a:\rx", b"a:x\r\r", b"\ra:x", b"a\r:x", b"a:x\r\r\nb:1"])
def test_a_carriage_return_inside_a_header_is_refused_in_1_2(lines: bytes) -> None:
    r"""STOMP 1.2, "Value Encoding": it is written \\r."""
    assert refusal(b"SEND\n" + lines + b"\n\n\0").message == "carriage return in a header"


def test_a_carriage_return_inside_a_header_is_an_octet_as_others_before_1_2() -> None:
    assert headers_of(b"a:x\ry\nb\rc:\rz", V1_1) == {"a": "x\ry", "b\rc": "\rz"}
    assert headers_of(b"a:x\r\r\nb:y\r\r", V1_1) == {"a": "x\r", "b": "y\r"}
    assert headers_of(b"a:x\ry", V1_0) == {"a": "x\ry"}


# Headers.


@every_version
def test_a_header_is_a_name_a_colon_and_the_rest(version: Version) -> None:
    """A raw colon in a value is outside the grammar of 1.1 and 1.2; old clients send it."""
    lines = b"a:1\nb:\nc:x:y::z\nurl:http://host:80/"
    assert headers_of(lines, version) == {"a": "1", "b": "", "c": "x:y::z", "url": "http://host:80/"}


@every_version
@pytest.mark.parametrize("line", [b"no colon", b":", b":value", b"a", b"::", b"\xc3\xa9"])
def test_a_line_without_name_or_colon_is_refused(line: bytes, version: Version) -> None:
    for lines in (line, b"a:1\n" + line + b"\nb:2", b"b:2\nc:3\n" + line):
        data = b"SEND\n" + lines + b"\n\n\0"
        assert refusal(data, version=version).message == "header without name and colon"


def test_a_name_of_blanks_is_no_name_in_1_0() -> None:
    """Or a subscriber of a later version would get a line without a name."""
    frames, is_refused = outcome([b"SEND\n :x\na:1\n\n\0"], V1_0)
    assert is_refused or frames[0].headers == {"a": "1"}


@every_version
def test_of_repeated_headers_the_first_counts(version: Version) -> None:
    """STOMP 1.2, "Repeated Header Entries"."""
    assert headers_of(b"foo:World\nfoo:Hello\nbar:1\nfoo:", version) == {"foo": "World", "bar": "1"}


def test_names_that_blanks_tell_apart_are_repeated_in_1_0() -> None:
    assert headers_of(b"foo : 1 \n foo:2", V1_0) == {"foo": "1"}
    assert headers_of(b"foo : 1 \n foo:2", V1_2) == {"foo ": " 1 ", " foo": "2"}


@later_versions
def test_blanks_belong_to_names_and_values(version: Version) -> None:
    """STOMP 1.2, "STOMP Frames": padding must not be trimmed."""
    assert headers_of(b" a : b \n\tc:\td\t", version) == {" a ": " b ", "\tc": "\td\t"}


def test_blanks_around_names_and_values_are_dropped_in_1_0() -> None:
    """Seen in the wild: the examples of STOMP 1.0 have them."""
    assert headers_of(b" a : b c \n\td:\te\t", V1_0) == {"a": "b c", "d": "e"}


@every_version
def test_headers_are_utf_8(version: Version) -> None:
    """STOMP 1.1 and 1.2, "STOMP Frames"; 1.0 in practice."""
    assert headers_of("näme:wért\nsmile:😀\u2028\ufeff".encode(), version) == {
        "näme": "wért",
        "smile": "😀\u2028\ufeff",
    }


@every_version
@pytest.mark.parametrize(
    "value", [b"\xff", b"\xc3", b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80", b"\xf5\x80\x80\x80"]
)
def test_octets_that_are_no_utf_8_are_refused_in_headers(value: bytes, version: Version) -> None:
    assert refusal(b"SEND\na:" + value + b"\n\n\0", version=version).message == "header is not UTF-8"
    assert refusal(b"SEND\n" + value + b":a\n\n\0", version=version).message == "header is not UTF-8"


@every_version
def test_a_nul_in_the_head_is_refused(version: Version) -> None:
    assert "NUL" in refusal(b"SEND\na:x\0y\n\n\0", version=version).message
    assert "NUL" in refusal(b"SEND\na:x\0", version=version).message  # as soon as it is there
    assert "NUL" in refusal(b"SEND\na:x", b"\0", version=version).message
    assert refusal(b"SEND\0\n\n\0", version=version).message == "unknown command"
    assert refusal(b"SEND\0", b"\n\n\0", version=version).message


@pytest.mark.parametrize("version", [V1_1, V1_2])
@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (rb"\n", "\n"),
        (rb"\c", ":"),
        (rb"\\", "\\"),
        (rb"a\\nb", r"a\nb"),
        (rb"C\c\\new", r"C:\new"),  # chained replaces would make a line end of it
        (rb"a\\cb", r"a\cb"),
        (rb"\\\\\c\n\\", "\\\\:\n\\"),
        (rb"\\\n", "\\\n"),
        (b"\xc3\xa9\\c", "é:"),
    ],
)
def test_escapes_are_read_in_one_pass_in_names_and_values(wire: bytes, value: str, version: Version) -> None:
    """STOMP 1.1 and 1.2, "Value Encoding"."""
    assert headers_of(b"a:" + wire + b"\n" + wire + b":b", version) == {"a": value, value: "b"}


def test_an_escaped_carriage_return_is_known_from_1_2_on() -> None:
    """STOMP 1.2, "Value Encoding"; undefined in 1.1."""
    assert headers_of(rb"a:x\ry") == {"a": "x\ry"}
    assert refusal(b"SEND\na:x\\ry\n\n\0", version=V1_1).message == "undefined escape in a header"


@later_versions
@pytest.mark.parametrize(
    "wire", [rb"\t", rb"\N", rb"\C", rb"\0", rb"\ ", rb"\:", b"\\\xc3\xa9", b"\\", rb"a\\\ ", rb"\\\x"]
)
def test_undefined_escapes_are_refused(wire: bytes, version: Version) -> None:
    """STOMP 1.1 and 1.2, "Value Encoding": a fatal protocol error."""
    assert refusal(b"SEND\na:" + wire + b"\n\n\0", version=version).message == "undefined escape in a header"
    assert refusal(b"SEND\n" + wire + b"x:1\n\n\0", version=version).message == "undefined escape in a header"


def test_a_backslash_is_a_backslash_in_1_0() -> None:
    assert headers_of(rb"a:C\c\new\t\n\\" + b"\n\\n:\\", V1_0) == {"a": r"C\c\new\t\n\\", r"\n": "\\"}


@every_version
@pytest.mark.parametrize("command", sorted(UNESCAPED))
def test_the_login_is_not_unescaped(command: Command, version: Version) -> None:
    """STOMP 1.2, "Value Encoding": CONNECT and CONNECTED are not, for the sake of 1.0; STOMP is CONNECT."""
    lines = "accept-version:1.0,1.2\npasscode:a\\c:b\\n\\t\\\nhost: x "
    assert decode_one(f"{command}\n{lines}\n\n\0", version=version) == Frame(
        command, {"accept-version": "1.0,1.2", "passcode": "a\\c:b\\n\\t\\", "host": " x "}
    )


@every_version
def test_a_login_without_versions_is_one_of_1_0_where_blanks_count_for_nothing(version: Version) -> None:
    """STOMP 1.0, CONNECT: the example has a blank before its values."""
    frame = decode_one("CONNECT\nlogin: guest \npasscode : a\\c\ncontent-length: 0\n\n\0", version=version)
    assert frame.headers == {"login": "guest", "passcode": "a\\c", "content-length": "0"}


@pytest.mark.parametrize(
    ("version", "wire", "value"),
    [
        (V1_2, "a:b", "a:b"),  # stomp.js and webstomp never escape
        (V1_2, r"a\cb", "a:b"),
        (V1_1, r"\\", "\\"),
        (V1_1, "a\rb", "a\rb"),
        (V1_0, r"a\cb", r"a\cb"),
        (V1_0, "a:b", "a:b"),
    ],
)
def test_an_id_and_a_receipt_are_also_kept_as_written(version: Version, wire: str, value: str) -> None:
    frame = decode_one(f"SUBSCRIBE\nid:{wire}\nreceipt:{wire}\ndestination:{wire}\n\n\0", version=version)
    assert frame.headers == {"id": value, "receipt": value, "destination": value}
    assert frame.verbatim("id") == frame.verbatim("receipt") == wire
    answer = Frame(Command.RECEIPT, {"receipt-id": value}, b"", {"receipt-id": frame.verbatim("receipt")})
    assert dialect(version, RAW).encode(answer) == f"RECEIPT\nreceipt-id:{wire}\n\n\0".encode()


def test_nothing_is_kept_twice_where_an_id_and_a_receipt_are_plain() -> None:
    assert decode_one("SUBSCRIBE\nid:sub-0\nreceipt:r 1\ndestination:/a:b\n\n\0").raw is None


# Bodies.


@every_version
def test_without_a_length_the_body_ends_at_the_first_nul(version: Version) -> None:
    body = "text\nwith:lines\n\n\r\n\r ünd 😀 \\n".encode()
    assert decode_one(b"SEND\n\n" + body + b"\0\n", version=version) == Frame(Command.SEND, {}, body)


@every_version
def test_a_body_need_not_be_text(version: Version) -> None:
    body = bytes(range(1, 256))
    assert decode_one(b"MESSAGE\n\n" + body + b"\0", version=version).body == body


@every_version
def test_with_a_length_the_body_may_hold_nuls(version: Version) -> None:
    """STOMP 1.2, "Header content-length": octets, not characters."""
    body = "\0é\0\n\n".encode()
    data = b"SEND\ncontent-length:%d\n\n%b\0" % (len(body), body)
    for pieces in ([data], octets(data)):
        frame = decode_one(*pieces, version=version)
        assert frame.body == body
        assert frame.headers == {"content-length": "6"}  # its presence is told on


@every_version
@pytest.mark.parametrize("length", ["0", "00", "000000000000000000000000000000"])
def test_a_length_of_nothing_is_an_empty_body_on_every_frame(length: str, version: Version) -> None:
    for command in Command:
        frame = decode_one(f"{command}\ncontent-length:{length}\n\n\0", version=version)
        assert (frame.body, frame.headers) == (b"", {"content-length": length})


def test_a_length_may_have_zeros_in_front() -> None:
    assert decode_one("SEND\ncontent-length:0000000000000000000000004\n\nbody\0").body == b"body"


@every_version
def test_the_first_of_two_lengths_counts(version: Version) -> None:
    frames = decode("SEND\ncontent-length:1\ncontent-length:3\n\na\0SEND\n\n\0", version=version)
    assert [frame.body for frame in frames] == [b"a", b""]


@every_version
@pytest.mark.parametrize(
    "length",
    ["", "-1", "+5", "1_0", "5.0", "5e0", "0x5", "٣", "²", "\uff15", "five", "5 5", "5,5", "NaN", "5\\n", "5\t5"],
)
def test_a_length_that_is_no_number_is_refused(length: str, version: Version) -> None:
    data = f"SEND\ncontent-length:{length}\n\nhello\0"
    if length == "5\\n" and version is not V1_0:
        assert refusal(data, version=version)  # a line end by escape
        return
    assert refusal(data, version=version).message == "content-length is no number"
    assert refusal(data.partition("hello")[0], version=version)  # before the body comes


@pytest.mark.parametrize("length", [" 5", "5 ", " 5 "])
def test_blanks_around_a_length_are_dropped_in_1_0_alone(length: str) -> None:
    assert decode_one(f"SEND\ncontent-length:{length}\n\nhello\0", version=V1_0).body == b"hello"
    assert decode_one("CONNECT\ncontent-length: 0\n\n\0", version=V1_0).command is Command.CONNECT
    for version in (V1_1, V1_2):
        assert refusal(f"SEND\ncontent-length:{length}\n\nhello\0", version=version)


@every_version
@pytest.mark.parametrize(("length", "body"), [(4, b"hello"), (0, b"hello"), (1, b"\n\n"), (2, b"a\0b")])
def test_a_body_longer_than_its_length_is_refused(length: int, body: bytes, version: Version) -> None:
    """Where the next frame begins is unknown then."""
    data = b"SEND\ncontent-length:%d\nreceipt:r1\n\n%b\0" % (length, body)
    error = refusal(data, version=version)
    assert error.message == "no NUL after the body"
    assert error.detail == f"content-length is {length}"
    assert error.receipt == "r1"


@every_version
def test_a_body_shorter_than_its_length_is_waited_for(version: Version) -> None:
    assert decode("SEND\ncontent-length:6\n\nhello\0", version=version) == []
    assert decode_one("SEND\ncontent-length:6\n\nhello\0", "\0", version=version).body == b"hello\0"


@later_versions
@pytest.mark.parametrize("command", sorted(set(Command) - WITH_BODY))
def test_a_body_where_none_belongs_is_refused(command: Command, version: Version) -> None:
    """STOMP 1.1 and 1.2, "Body": all other frames MUST NOT have one."""
    expected = f"{command} has no body"
    assert refusal(f"{command}\n\nbody\0", version=version).message == expected
    assert refusal(f"{command}\n\nb", version=version).message == expected  # as soon as it begins
    assert refusal(f"{command}\n\n", "b", version=version).message == expected
    assert refusal(f"{command}\ncontent-length:4\n\n", version=version).message == expected  # as soon as announced
    assert refusal(f"{command}\n\n\n\0", version=version).message == expected


@pytest.mark.parametrize("command", sorted(set(Command) - WITH_BODY))
def test_a_body_where_none_belongs_is_ignored_in_1_0(command: Command) -> None:
    """STOMP 1.0, SUBSCRIBE: the body is ignored."""
    data = f"{command}\n\nbody\0{command}\ncontent-length:4\n\nb\0dy\0SEND\n\nx\0".encode()
    for pieces in ([data], octets(data)):
        frames = decode(*pieces, version=V1_0)
        assert [frame.command for frame in frames] == [command, command, Command.SEND]
        assert [frame.body for frame in frames] == [b"", b"", b"x"]


# Versions.


def test_the_version_may_change_between_two_frames() -> None:
    decoder = Decoder(LIMITS)
    decoder.feed("CONNECT\npasscode:a\\b\n\n\0SEND\na:x\\y \n\n\0SEND\na:\\c\n\n\0")
    assert decoder.next_frame() == Frame(Command.CONNECT, {"passcode": "a\\b"})
    decoder.version = V1_0
    assert decoder.next_frame() == Frame(Command.SEND, {"a": "x\\y"})
    decoder.version = V1_1
    assert decoder.next_frame() == Frame(Command.SEND, {"a": ":"})


def test_the_limits_may_change_between_two_frames() -> None:
    decoder = Decoder(Limits.before_login(StompOptions(max_login_size=20)))
    decoder.feed("CONNECT\n\n\0SEND\n\n" + "x" * 100)
    assert decoder.next_frame() == Frame(Command.CONNECT)
    decoder.limits = LIMITS
    assert decoder.next_frame() is None
    decoder.feed("\0")
    assert decoder.next_frame() == Frame(Command.SEND, {}, b"x" * 100)


# Limits: stated in the documentation of the options, enforced as soon as passed or announced.

SMALL = Limits(head=40, header=20, headers=3, body=10)


def test_the_limits_come_from_the_options() -> None:
    options = StompOptions(max_head_size=4, max_header_size=3, max_headers=2, max_body_size=5, max_login_size=1)
    assert Limits.of(options) == Limits(head=4, header=3, headers=2, body=5)
    assert Limits.before_login(options) == Limits(head=1, header=1, headers=2, body=1)
    assert Limits.before_login(StompOptions()) == Limits(head=16_384, header=8192, headers=64, body=16_384)


def both_ways(data: bytes, version: Version = V1_2, limits: Limits = SMALL) -> bool:
    """Is ``data`` let in? Whole, octet by octet and split in two anywhere, the answer is the same."""
    expected = outcome([data], version, limits)
    assert outcome(octets(data), version, limits) == expected
    for place in range(1, len(data)):
        assert outcome([data[:place], data[place:]], version, limits) == expected, place
    frames, is_refused = expected
    assert is_refused or len(frames) == 1
    return not is_refused


@every_version
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_a_head_may_be_as_long_as_its_limit_and_no_longer(eol: bytes, version: Version) -> None:
    for size in range(36, 46):
        head = b"SEND" + eol + b"a:12345678" + eol + b"b:12345678" + eol + b"c:"
        head += b"x" * (size - len(head) - len(eol) + 1)  # what counts is all before the last LF of the head's lines
        if eol == b"\r\n":
            head += b"\r"
        assert len(head) == size
        limits = Limits(head=40, header=40, headers=9, body=10)
        assert both_ways(head + b"\n" + eol + b"body\0", version, limits) is (size <= 40), size


@every_version
def test_a_header_may_be_as_long_as_its_limit_and_no_longer(version: Version) -> None:
    assert both_ways(b"SEND\na:1\nb:" + b"y" * 18 + b"\n\n\0", version)
    assert not both_ways(b"SEND\na:1\nb:" + b"y" * 19 + b"\n\n\0", version)
    assert both_ways(b"SEND\na:" + "é".encode() * 9 + b"\nb:1\n\n\0", version)  # bytes count, not characters
    assert not both_ways(b"SEND\na:" + "é".encode() * 10 + b"\nb:1\n\n\0", version)
    assert refusal(b"SEND\na:" + b"x" * 19 + b"\n\n\0", version=version, limits=SMALL).message == "header too long"


@every_version
def test_there_may_be_as_many_headers_as_the_limit_and_no_more(version: Version) -> None:
    assert both_ways(b"SEND\na:1\nb:2\nc:3\n\n\0", version)
    assert not both_ways(b"SEND\na:1\nb:2\nc:3\nd:4\n\n\0", version)
    assert not both_ways(b"SEND\na:1\na:1\na:1\na:1\n\n\0", version)  # repeated ones count
    assert refusal(b"SEND\na:1\nb:2\nc:3\nd:4\n\n\0", limits=SMALL).message == "too many headers"


@every_version
def test_a_body_may_be_as_long_as_its_limit_and_no_longer(version: Version) -> None:
    for length, is_in in ((9, True), (10, True), (11, False)):
        assert both_ways(b"SEND\n\n" + b"x" * length + b"\0", version) is is_in
        assert both_ways(b"SEND\ncontent-length:%d\n\n%b\0" % (length, b"x" * length), version) is is_in


def test_an_ignored_body_counts_as_well() -> None:
    assert both_ways(b"BEGIN\n\n" + b"x" * 10 + b"\0", V1_0)
    assert not both_ways(b"BEGIN\n\n" + b"x" * 11 + b"\0", V1_0)


@every_version
@pytest.mark.parametrize("length", ["11", "1048576", "9" * 18, "9" * 19, "1" + "0" * 12, "0" + "9" * 12])
def test_a_length_above_the_limit_is_refused_when_it_is_announced(length: str, version: Version) -> None:
    limits = Limits(head=100, header=100, headers=3, body=10)
    error = refusal(f"SEND\nreceipt:r\ncontent-length:{length}\n\n", version=version, limits=limits)
    assert (error.message, error.detail, error.receipt) == ("body too long", "the limit is 10 bytes", "r")


def test_thousands_of_digits_are_refused_without_being_read() -> None:
    """Python refuses to read as many, by a ValueError."""
    limits = Limits(head=20_000, header=20_000, headers=3, body=10)
    assert refusal(f"SEND\ncontent-length:{'9' * 10_000}\n\n", limits=limits).message == "body too long"
    assert decode_one(f"SEND\ncontent-length:{'0' * 10_000}1\n\nx\0", limits=limits).body == b"x"


@every_version
@pytest.mark.parametrize(
    "beginning", [b"SEND\n", b"SEND\na:", b"SEND\n\n", b"SEND\r\n\r\n", b"SEND\ncontent-length:10\n\n"]
)
@pytest.mark.parametrize("endless", [b"x", b"a:b\n", b"\r", "é".encode()])
def test_what_never_ends_is_refused_as_soon_as_it_passes_a_limit(
    beginning: bytes, endless: bytes, version: Version
) -> None:
    decoder = Decoder(SMALL, version)
    decoder.feed(beginning)
    most = len(beginning) + max(SMALL.head, SMALL.body) + 4

    def feed_on() -> None:
        for octet in itertools.cycle(octets(endless)):
            decoder.feed(octet)
            assert decoder.next_frame() is None
            assert decoder.buffered <= most

    with pytest.raises(BadFrame):
        feed_on()


@settings(max_examples=50, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(
            st.sampled_from(
                [b"SEND\n", b"SEND\n\n", b"a:b\n", b"\n", b"\0", b"content-length:9\n", b"xxxxxxx", b"\r\n"]
            ),
            st.binary(max_size=30),
        ),
        max_size=60,
    ),
    version=st.sampled_from(Version),
)
def test_what_waits_never_passes_the_limits_and_the_last_piece(pieces: list[bytes], version: Version) -> None:
    decoder = Decoder(SMALL, version)
    for piece in pieces:
        decoder.feed(piece)
        try:
            frames_of(decoder)
        except BadFrame:
            return
        assert decoder.buffered <= SMALL.head + SMALL.body + 4


def test_memory_does_not_grow_by_line_ends_and_finished_frames() -> None:
    decoder = Decoder(LIMITS)
    beats, sends = b"\n\0\r\n" * 4 * KIB, b"SEND\ndestination:/a\n\nbody\0" * 50
    tracemalloc.start()
    try:
        for _ in range(50):
            decoder.feed(beats)
            assert decoder.next_frame() is None
            decoder.feed(sends + b"SEND\n")  # a rest stays, so the buffer goes on
            assert len(frames_of(decoder)) == 50
            decoder.feed(b"\n\0")
            assert decoder.next_frame() == Frame(Command.SEND)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 64 * KIB


def test_a_large_piece_is_not_kept_for_the_rest_at_its_end() -> None:
    decoder = Decoder(LIMITS)
    tracemalloc.start()
    try:
        decoder.feed(b"SEND\n\n" + b"x" * KIB * KIB + b"\0SEND\n")
        assert len(frames_of(decoder)) == 1
        decoder.feed(b"a:b")
        assert decoder.next_frame() is None
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 16 * KIB


# Time. No octet is looked at more than a few times, so eight times the input costs about eight times as much; where
# all were looked at again with every piece, it would cost 64 times as much. Between the two is room for a busy machine.


def best_time(run: Callable[[], object]) -> float:
    """Seconds of CPU; the least of five runs."""
    times = []
    for _ in range(5):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return max(min(times), 1e-6)


LARGE = Limits(head=2048 * KIB, header=2048 * KIB, headers=2048 * KIB, body=2048 * KIB)


def feed_all(pieces: Iterable[bytes]) -> list[Frame]:
    return decode(*pieces, limits=LARGE)


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[index : index + size] for index in range(0, len(data), size)]


def body_up_to_nul(size: int) -> list[bytes]:
    return sliced(b"SEND\n\n" + b"x" * size + b"\0", 64)


def body_with_length(size: int) -> list[bytes]:
    return sliced(b"SEND\ncontent-length:%d\n\n%b\0" % (size, b"\n" * size), 64)


def one_long_header(size: int) -> list[bytes]:
    return sliced(b"SEND\na:" + b"x" * size + b"\n\n\0", 64)


def carriage_returns(size: int) -> list[bytes]:
    return sliced(b"SEND\na:" + b"\r" * size + b"b\n", 64)  # never a line end, so no fault either


def many_frames_after_a_rest(size: int) -> list[bytes]:
    return [b"SEN", b"D\n\n\0" + b"SEND\n\nbody\0" * (size // 64)]


def frames_cut_in_the_middle(size: int) -> list[bytes]:
    return sliced(b"SEND\n\nbody\0" * (size // 64), 7)


@pytest.mark.parametrize(
    "pieces_of",
    [
        body_up_to_nul,
        body_with_length,
        one_long_header,
        carriage_returns,
        many_frames_after_a_rest,
        frames_cut_in_the_middle,
    ],
)
def test_eight_times_the_input_costs_about_eight_times_as_much(pieces_of: Callable[[int], list[bytes]]) -> None:
    few, many = pieces_of(128 * KIB), pieces_of(1024 * KIB)
    assert best_time(lambda: feed_all(many)) < 30 * best_time(lambda: feed_all(few))


def test_frames_with_cr_lf_cost_about_as_much_as_with_lf() -> None:
    """The end of a head is not looked for in the frames behind it."""
    frames = b"SEND\ndestination:/topic/a\n\n\0" * 4000
    crlf = frames.replace(b"\n", b"\r\n")
    assert len(decode(crlf)) == 4000
    assert best_time(lambda: decode(crlf)) < 4 * best_time(lambda: decode(frames))


# Pieces.

CONVERSATION = (
    b"\n\r\nCONNECT\r\naccept-version:1.2\r\nhost:x\r\n\r\n\0\n\n"
    b"SUBSCRIBE\nid:a\\cb\nreceipt:x:y\ndestination:/topic/\xc3\xa9\n\n\0"
    b"SEND\r\ndestination:/a\ncontent-length:7\n\r\n\0\n\n\xf0\x9f\x98\x80\0\0"
    b"SEND\ndestination:/a\n\n\r\n\nbody\0\r\n"
    b"SEND\r\ndestination:/a\r\n\r\n\nbody\0\0\0DISCONNECT\n\n\0\n"
)


@every_version
def test_a_conversation_may_be_split_at_every_byte(version: Version) -> None:
    whole = decode(CONVERSATION, version=version)
    assert [frame.command.value for frame in whole] == ["CONNECT", "SUBSCRIBE", "SEND", "SEND", "SEND", "DISCONNECT"]
    assert [frame.body for frame in whole[2:5]] == ["\0\n\n😀".encode(), b"\r\n\nbody", b"\nbody"]
    for place in range(len(CONVERSATION) + 1):
        assert decode(CONVERSATION[:place], CONVERSATION[place:], version=version) == whole
    assert decode(*octets(CONVERSATION), version=version) == whole


FRAGMENTS = st.sampled_from(
    [
        *(b"SEND BEGIN CONNECT MESSAGE SUBSCRIBE UNSUBSCRIBE send").split(),
        *(b"SEND\n", b"SEND\r\n", b"BEGIN\n", b"CONNECT\n", b"SEND\n\n", b"ERROR\r\n\r\n"),
        *(b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r", b"\0", b"\0\n", b"\n\0"),
        *(
            b"a:b\n",
            b"a:b\r\n",
            b"a",
            b":",
            b" ",
            b"\\",
            b"\\c",
            b"\\n",
            b"\\r",
            b"\\x",
            b"id:1:2\n",
            b"receipt:r\\c\n",
        ),
        *(b"content-length:0\n", b"content-length:3\n", b"content-length:11\n", b"content-length:x\n"),
        *(b"body", b"abc\0", b"\xc3\xa9", b"\xc3", b"\xf0\x9f\x98\x80", b"xxxxxxxxxxxxxxxx"),
    ]
)
NEARLY_STOMP = st.lists(FRAGMENTS, max_size=14).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(NEARLY_STOMP, st.just(CONVERSATION), st.binary(max_size=60)),
    places=st.lists(st.integers(0, 400), max_size=12),
    version=st.sampled_from(Version),
    limits=st.sampled_from([LIMITS, SMALL, Limits(head=9, header=4, headers=1, body=3)]),
)
def test_random_pieces_are_read_as_the_whole(data: bytes, places: list[int], version: Version, limits: Limits) -> None:
    expected = outcome([data], version, limits)
    assert outcome(cut(data, places), version, limits) == expected
    assert outcome(octets(data), version, limits) == expected


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.one_of(NEARLY_STOMP, st.binary(max_size=40), st.text(st.characters(), max_size=40)), max_size=8),
    version=st.sampled_from(Version),
    limits=st.sampled_from([LIMITS, SMALL]),
)
def test_no_input_raises_anything_but_the_protocol_error(
    pieces: list[str | bytes], version: Version, limits: Limits
) -> None:
    decoder = Decoder(limits, version)
    for piece in pieces:  # also after an error
        decoder.feed(piece)
        try:
            frames = frames_of(decoder)
        except BadFrame:
            pass
        else:
            assert all(isinstance(frame.command, Command) and isinstance(frame.body, bytes) for frame in frames)


# A model: the grammar read the slow way, without pieces and limits.


def model(data: bytes, version: Version) -> Iterator[Frame | None]:
    """The frames in ``data``; None for a fault, which ends it. Ends silently where a frame is not complete."""
    while True:
        while data[:1] in (b"\n", b"\0") or data[:2] == b"\r\n":
            data = data[2:] if data[:1] == b"\r" else data[1:]
        lines: list[bytes] = []
        while True:
            line, lf, data = data.partition(b"\n")
            if not lf:
                return
            line = line.removesuffix(b"\r")
            if not line:
                break
            lines.append(line)
        try:
            frame = model_head(lines, version)
        except (ValueError, KeyError, IndexError):
            yield None
            return
        length = frame.headers.get("content-length")
        if length is not None:
            if version is V1_0:
                length = length.strip()
            if not length or set(length) - set("0123456789"):
                yield None
                return
        count = data.find(b"\0") if length is None else int(length)
        is_bodiless = frame.command not in WITH_BODY
        if is_bodiless and version is not V1_0 and (count > 0 or (count < 0 and data)):
            yield None
            return
        if count < 0 or len(data) <= count:
            return
        if data[count] != 0:
            yield None
            return
        frame.body = b"" if is_bodiless else data[:count]
        data = data[count + 1 :]
        yield frame


def model_head(lines: list[bytes], version: Version) -> Frame:
    command = Command(lines[0].decode())
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.decode().partition(":")
        if not (name and colon) or "\0" in name + value:
            raise ValueError
        if command not in UNESCAPED:
            if version is V1_2 and "\r" in name + value:
                raise ValueError
            name, value = (model_text(text, version) for text in (name, value))
            if not name:
                raise ValueError
        found.setdefault(name, value)
    return Frame(command, found)


def model_text(text: str, version: Version) -> str:
    if version is V1_0:
        return text.strip(" \t")
    known = {"n": "\n", "c": ":", "\\": "\\"} | ({"r": "\r"} if version is V1_2 else {})
    characters = iter(text)
    return "".join(known[next(characters, "")] if each == "\\" else each for each in characters)


@settings(max_examples=200, deadline=None)
@given(data=NEARLY_STOMP, version=st.sampled_from(Version))
def test_frames_are_read_as_a_simple_model_reads_them(data: bytes, version: Version) -> None:
    frames, is_refused = outcome([data], version)
    expected = list(model(data, version))
    for frame in frames:
        frame.raw = None  # has tests of its own
    assert frames == [frame for frame in expected if frame is not None]
    if None in expected:
        assert is_refused  # the other way round a fault is often known before the frame is complete


# Text: SockJS delivers UTF-16, cut anywhere.


def units(text: str) -> list[str]:
    """The UTF-16 units of ``text``, as a JSON decoder gives those that stand alone."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    return [encoded[index : index + 2].decode("utf-16-le", "surrogatepass") for index in range(0, len(encoded), 2)]


def joined(pieces: Iterable[str]) -> bytes:
    """What ``pieces`` amount to: halves joined, lone ones replaced, as UTF-8."""
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def test_halves_of_characters_are_joined_again() -> None:
    """Clients split frames at UTF-16 units."""
    assert decode_one("SEND\na:\ud83d", "\ude00\n\n\ud83d", "", "\ude00\0") == Frame(
        Command.SEND, {"a": "😀"}, "😀".encode()
    )


def test_a_length_counts_the_octets_of_a_character_whose_halves_came_apart() -> None:
    assert decode_one("SEND\ncontent-length:4\n\n\ud83d", "\ude00\0").body == "😀".encode()


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        (["SEND\n\na\ud83d", "b\0"], "a\ufffdb"),  # a first half alone
        (["SEND\n\na", "\ude00b\0"], "a\ufffdb"),  # a second half alone
        (["SEND\n\n\ud83d", "\ud83d", "\ude00\0"], "\ufffd😀"),
        (["SEND\n\n\ude00\ud83d", "\0"], "\ufffd\ufffd"),
        (["SEND\n\n\ud83d", b"\0"], "\ufffd"),  # octets cannot go on with it
        (["SEND\n\n\ud83d", b"", "\ude00\0"], "\ufffd\ufffd"),
        (["SEND\n\n\ufeffx\ud83d", "\0"], "\ufeffx\ufffd"),
    ],
)
def test_a_half_that_stays_alone_is_replaced(pieces: list[str | bytes], body: str) -> None:
    assert decode_one(*pieces).body == body.encode()


@settings(max_examples=80, deadline=None)
@given(
    text=st.text(st.characters(exclude_characters="\0"), max_size=20),
    places=st.lists(st.integers(0, 60), max_size=8),
    as_halves=st.booleans(),
)
def test_text_may_be_split_at_every_unit(text: str, places: list[int], as_halves: bool) -> None:
    parts = units(f"SEND\n\n{text}\0")
    edges = [0, *sorted({place % (len(parts) + 1) for place in places}), len(parts)]
    pieces = ["".join(parts[first:last]) for first, last in itertools.pairwise(edges)]
    if not as_halves:  # as JSON decoders do: halves that stand side by side are one character
        pieces = [piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") for piece in pieces]
    assert decode_one(*pieces).body == joined([text])


# Faults name the frame's receipt, as the client wrote it.


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"SEND\nreceipt:%b\na\n\n\0", V1_2),
        (b"SEND\r\nreceipt:%b\r\na\r\n\r\n\0", V1_2),
        (b"SEND\nreceipt:%b\na:\xff\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\na:\0\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\na:\\t\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\na:b\rc\n\n\0", V1_2),
        (b"SEND\na:%%b\nreceipt:%b\nreceipt:second\n:\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\ncontent-length:x\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\ncontent-length:9999999\n\n\0", V1_2),
        (b"SEND\nreceipt:%b\ncontent-length:1\n\nab\0", V1_2),
        (b"SUBSCRIBE\nreceipt:%b\ncontent-length:1\n\n", V1_1),
        (b"SUBSCRIBE\nreceipt:%b\n\nb", V1_2),
        (b"SUBSCRIBE\nreceipt:%b\n\nbody\0", V1_1),
        (b"SEND\nreceipt:%b\n\n" + b"x" * (KIB * KIB + 1), V1_2),
    ],
)
@pytest.mark.parametrize("receipt", [b"r-1", b"a:b", rb"a\cb", rb"a\\b", rb"a\nevil:1", "é😀".encode()])
def test_a_fault_names_the_receipt_byte_for_byte(data: bytes, version: Version, receipt: bytes) -> None:
    """STOMP 1.2, ERROR: with a receipt-id where the frame asked for a receipt. A receipt that was unescaped could
    put a header of its own into the ERROR."""
    error = refusal(data.replace(b"%b", receipt), version=version)
    assert error.receipt == receipt.decode()


@pytest.mark.parametrize(
    "data", [b"SEND\na\n\n\0", b"SEND\nreceipt-id:1\n:\n\n\0", b"SUBSCRIBE\n\nbody\0", b"send\n\n\0"]
)
def test_a_fault_of_a_frame_without_receipt_names_none(data: bytes) -> None:
    assert refusal(data).receipt is None


@every_version
@pytest.mark.parametrize("receipt", [b"a\0b", b"a\0receipt-id:c", b"\xff\0", b"a\rb\0"])
def test_a_receipt_that_no_frame_can_hold_is_not_named(receipt: bytes, version: Version) -> None:
    """Or the NUL would end the ERROR in its middle."""
    error = refusal(b"SEND\nreceipt:" + receipt + b"\n\n\0", version=version)
    assert "\0" not in (error.receipt or "")


def test_a_receipt_of_a_thousand_characters_is_not_sent_back_for_a_broken_frame() -> None:
    error = refusal(b"SEND\nreceipt:" + b"x" * 1000 + b"\n:\n\n\0")
    assert len(error.receipt or "") <= 200


BAD_INPUT = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b'["SEND\\ndestination:/a\\n\\n\\u0000"]',  # SockJS framing on a raw socket
    b"\xef\xbb\xbfCONNECT\n\n\0",
    b"\xff\xfeC\0O\0N\0",  # UTF-16
    b"CONNECT\n\n\0garbage that goes on",
    b"CONNECT accept-version:1.2\n\n\0",
    b"SEND\n" * 20 + b"\n\0",
    b"SEND\n\0\n\0\n\0",
    b"SEND\n:\n\n\0",
    b"SEND\na:b\0\n\n\0",
    b"SEND\na:\xed\xa0\xbd\xed\xb8\x80\n\n\0",  # halves as UTF-8 each
    b"SEND\ncontent-length:-0\n\n\0",
    b"SEND\ncontent-length:1\n\n\0x",
    b"SEND\ncontent-length:0\n\nx\0",
    b"SEND\ncontent-length:" + b"9" * 5000 + b"\n\n\0",
    b"SEND\n" + b"a:b\n" * 65 + b"\n\0",
    b"SEND\n" + b"\r" * 40_000,
    b"SEND\na:" + b"x" * 8200 + b"\n\n\0",
    b"SEND\n" + (b"a:" + b"x" * 4000 + b"\n") * 9 + b"\n\0",
    b"SEND\n\n" + b"x" * (KIB * KIB + 1),
    b"\\n\n\0",
    b"SEND\n\\:b\n\n\0",
    b"SEND\n\x00\x00\x00\x00",
]


@every_version
@pytest.mark.parametrize("data", BAD_INPUT, ids=range(len(BAD_INPUT)))
def test_bad_input_is_refused_with_a_sentence_and_never_stays(data: bytes, version: Version) -> None:
    if version is V1_0 and data == b"SEND\n\\:b\n\n\0":
        assert headers_of(b"\\:b", V1_0) == {"\\": "b"}  # a backslash is a name as good as any
        return
    error = refusal(data, version=version)
    assert error.message.isascii()
    assert error.detail.isascii()
    assert not set(error.message) & set(":\\\r\n\0")  # fit for a header of any version, unescaped
    frames, is_refused = outcome(sliced(data, 3), version)
    assert is_refused
    assert len(frames) <= 1


# Out.


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (V1_0, "a:x:y\\z  w\n"),
        (V1_1, "a:x\\cy\\\\z\\n\rw\nn\\c\\\\\\n\rm:1\n"),
        (V1_2, "a:x\\cy\\\\z\\n\\rw\nn\\c\\\\\\n\\rm:1\n"),
        (None, "a:x:y\\z\n\rw\nn:\\\n\rm:1\n"),
    ],
)
def test_each_version_escapes_in_its_own_way(version: Version | None, expected: str) -> None:
    """STOMP 1.2, "Value Encoding". 1.1 has no escape for CR; 1.0 none at all: a line's end becomes a blank, and a
    name with a colon is left out."""
    frame = Frame(Command.MESSAGE, {"a": "x:y\\z\n\rw", "n:\\\n\rm": "1"})
    assert dialect(version, RAW).encode(frame) == f"MESSAGE\n{expected}\n\0".encode()


@every_version
def test_line_ends_in_a_name_become_blanks_in_1_0(version: Version) -> None:
    encoded = dialect(version, RAW).encode(Frame(Command.SEND, {"a\nb": "1"}))
    assert encoded is not None
    assert (b"a b:1\n" in encoded) is (version is V1_0)


@pytest.mark.parametrize("command", sorted(UNESCAPED))
def test_the_answer_to_the_login_is_not_escaped(command: Command) -> None:
    """STOMP 1.2, "Value Encoding"."""
    frame = Frame(command, {"heart-beat": "0,0", "session": "a:b\\c"})
    assert dialect(V1_2, RAW).encode(frame) == f"{command}\nheart-beat:0,0\nsession:a:b\\c\n\n\0".encode()


def test_a_value_is_echoed_byte_for_byte_where_it_is_known() -> None:
    frame = Frame(Command.RECEIPT, {"receipt-id": "a:b", "other": "a:b"}, b"", {"receipt-id": "a:b", "absent": "x"})
    assert dialect(V1_2, RAW).encode(frame) == b"RECEIPT\nreceipt-id:a:b\nother:a\\cb\n\n\0"


CLEAN = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
SPECIAL = st.sampled_from(":\\\n\rnrc\t é😀\u2028\ufeff\x7f\x85")
WORDS = st.text(st.one_of(SPECIAL, CLEAN), max_size=8)
BODIES = st.one_of(st.binary(max_size=30), st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
FRAMINGS = [(FRAMED, False), (RAW, False), (RAW, True)]


@st.composite
def sayable_frames(draw: st.DrawFn, version: Version) -> Frame:
    """Frames that ``version`` has a wording for."""
    command = draw(st.sampled_from(list(Command)))
    is_plain = command in UNESCAPED or version is V1_0

    def is_sayable(text: str) -> bool:
        if is_plain and ("\n" in text or "\r" in text):
            return False
        if is_plain and text != text.strip():  # a login may be one of 1.0, too
            return False
        return not (version is V1_1 and text.endswith("\r"))  # a CR before a line's end belongs to the line's end

    names = WORDS.filter(lambda name: bool(name) and is_sayable(name) and not (is_plain and ":" in name))
    headers = draw(st.dictionaries(names, WORDS.filter(is_sayable), max_size=4))
    headers.pop("content-length", None)
    for name in draw(st.sets(st.sampled_from(["id", "receipt"]))):
        headers[name] = draw(WORDS.filter(is_sayable))
    body = draw(BODIES) if command in WITH_BODY else b""
    if b"\0" in body or draw(st.booleans()):
        headers["content-length"] = str(len(body))
    return Frame(command, headers, body)


def heard(encoded: bytes, spoken: Dialect) -> str | bytes:
    """What a client gets when ``encoded`` is sent to it."""
    if spoken.framing is not FRAMED:
        return bytes(encoded)
    message: str = json.loads(encoded)
    return message


@pytest.mark.parametrize(("framing", "is_binary"), FRAMINGS, ids=["framed", "text", "binary"])
@every_version
def test_random_frames_survive_the_way_out_and_in(version: Version, framing: object, is_binary: bool) -> None:
    spoken = DIALECTS[version, framing is FRAMED, is_binary]

    @settings(max_examples=50, deadline=None)
    @given(frame=sayable_frames(version), places=st.lists(st.integers(0, 500), max_size=4))
    def survive(frame: Frame, places: list[int]) -> None:
        encoded = spoken.encode(frame)
        if encoded is None:
            assert framing is FRAMED
            with pytest.raises(UnicodeDecodeError):
                frame.body.decode()
            return
        received = heard(encoded, spoken)
        decoded = decode_one(received, version=version)
        assert (decoded.command, decoded.headers, decoded.body) == (frame.command, frame.headers, frame.body)
        again = spoken.encode(decoded)  # id and receipt as they came, which is how they were escaped
        assert again == encoded
        if isinstance(received, bytes):
            assert decode(*cut(received, places), version=version) == [decoded]

    survive()


@settings(max_examples=80, deadline=None)
@given(
    headers=st.dictionaries(WORDS.map("n{}".format), WORDS, max_size=4),
    body=BODIES.filter(lambda body: b"\0" not in body),
    version=st.sampled_from(Version),
)
def test_no_header_can_smuggle_another_or_a_body(headers: dict[str, str], body: bytes, version: Version) -> None:
    encoded = dialect(version, RAW).encode(Frame(Command.MESSAGE, headers, body))
    assert encoded is not None
    frame = decode_one(encoded, version=version)
    assert frame.body == body
    assert len(frame.headers) <= len(headers)
    assert all(name.startswith("n") for name in frame.headers)


# Dialects.


def test_clients_of_one_kind_share_a_dialect() -> None:
    for version in (None, *Version):
        for framing, is_binary in FRAMINGS:
            found = dialect(version, framing, is_binary=is_binary)
            assert found is dialect(version, framing, is_binary=is_binary)
            assert (found.version, found.framing, found.is_binary) == (version, framing, is_binary)
    assert len(DIALECTS) == 12


def test_there_is_no_binary_over_sockjs() -> None:
    assert dialect(V1_2, FRAMED, is_binary=True) is dialect(V1_2, FRAMED)


def test_a_frame_whose_body_is_no_text_cannot_be_said_over_sockjs() -> None:
    assert dialect(V1_2, FRAMED).encode(Frame(Command.MESSAGE, {"content-length": "1"}, b"\xff")) is None


def test_a_frame_is_sent_as_text_unless_its_body_is_none() -> None:
    text, octets_ = Frame(Command.MESSAGE, {}, "é".encode()), Frame(Command.MESSAGE, {}, b"\xff")
    assert type(dialect(V1_2, RAW).encode(text)) is bytes
    assert type(dialect(V1_2, RAW).encode(octets_)) is Binary


def test_a_client_that_talks_in_binary_is_answered_in_binary() -> None:
    answer = dialect(V1_2, RAW, is_binary=True).encode(Frame(Command.RECEIPT, {"receipt-id": "1"}))
    assert type(answer) is Binary
    assert answer == b"RECEIPT\nreceipt-id:1\n\n\0"


@pytest.mark.parametrize(
    ("content_type", "body", "is_binary"),
    [
        (None, b"", False),
        (None, b"text", False),
        (None, "é😀".encode(), False),
        (None, b"\xff", True),
        ("text/plain", b"\xc3", True),
        ("application/json", b"{}", False),
        ("application/octet-stream", b"text", True),
        ("application/octet-stream;x=y", "é".encode(), True),
    ],
)
def test_a_message_is_binary_by_its_type_or_its_octets(content_type: str | None, body: bytes, is_binary: bool) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    message = PreparedMessage(1, "/a", headers, body)
    assert message.is_binary is is_binary
    assert type(dialect(V1_2, RAW).word(message)) is (Binary if is_binary else bytes)
    frame = Frame(Command.MESSAGE, headers, body)
    assert type(dialect(V1_2, RAW).encode(frame)) is (Binary if is_binary else bytes)  # one frame, one kind


def test_what_a_dialect_made_of_a_message_is_kept_with_it() -> None:
    message = PreparedMessage(7, "/a", {}, b"x")
    spoken, other = dialect(V1_2, RAW), dialect(V1_0, RAW)
    assert message.wordings == {}
    worded = spoken.word(message)
    assert message.wordings[spoken] is worded
    assert other not in message.wordings
    assert worded == b"7\ndestination:/a\ncontent-length:1\n\nx\0"


def test_a_message_that_cannot_be_said_is_worded_as_nothing() -> None:
    message = PreparedMessage(7, "/a", {}, b"\xff")
    assert dialect(V1_2, FRAMED).word(message) == b""
    assert message.wordings == {dialect(V1_2, FRAMED): b""}


def test_a_prefix_says_what_differs_between_subscribers() -> None:
    spoken = dialect(V1_2, RAW)
    assert spoken.prefix("s", "3-") == b"MESSAGE\nsubscription:s\nmessage-id:3-"
    assert spoken.prefix("s", "3-", {"ack": "3-9"}) == b"MESSAGE\nsubscription:s\nack:3-9\nmessage-id:3-"
    assert spoken.prefix(None, "3-") == b"MESSAGE\nmessage-id:3-"
    assert dialect(V1_2, FRAMED).prefix('"', "3-") == b'"MESSAGE\\nsubscription:\\"\\nmessage-id:3-'


@settings(max_examples=80, deadline=None)
@given(
    spoken=st.sampled_from(list(DIALECTS.values())),
    subscription=st.one_of(
        st.none(), st.text(st.one_of(st.sampled_from('"\\/\u2028\u200d😀é\x7f<'), CLEAN), max_size=6)
    ),
    ack=st.one_of(st.none(), st.just("4-77")),
    headers=st.dictionaries(WORDS.map("n{}".format), WORDS, max_size=3),
    destination=WORDS,
    body=BODIES,
)
def test_prefix_and_word_together_are_the_whole_frame(
    spoken: Dialect, subscription: str | None, ack: str | None, headers: dict[str, str], destination: str, body: bytes
) -> None:
    message = PreparedMessage(77, destination, headers, body)
    # The server's own come first: of repeated headers the first counts, also where a client drops blanks.
    ours = {"subscription": subscription, "ack": ack, "message-id": "4-77", "destination": destination}
    ours["content-length"] = str(len(body))
    frame = Frame(
        Command.MESSAGE,
        {name: value for name, value in ours.items() if value is not None} | headers,
        body,
        None if subscription is None else {"subscription": subscription},
    )
    whole, worded = spoken.encode(frame), spoken.word(message)
    if whole is None:
        assert worded == b""
        return
    quoted = spoken.prefix(subscription, "4-", None if ack is None else {"ack": ack}) + worded
    assert quoted == whole
    assert isinstance(worded, Binary) is isinstance(whole, Binary)
    if spoken.framing is FRAMED:
        text: str = json.loads(quoted)
        assert text.endswith(f"\n\n{body.decode()}\0")


@every_version
@pytest.mark.parametrize("text", ['"', '\\"', "\\", "\u2028", "😀", "</script>", "\x01\x1f", "\ufffe\uffff", "a\u200d"])
def test_quoted_pieces_join_to_json_for_any_text(text: str, version: Version) -> None:
    spoken = dialect(version, FRAMED)
    message = PreparedMessage(5, f"/topic/{text}", {"custom": text}, text.encode())
    joined_text = json.loads(spoken.prefix(f"s{text}".replace("\\", ""), "1-") + spoken.word(message))
    frame = decode_one(joined_text, version=version)
    assert frame.body == text.encode()
    assert frame.headers["message-id"] == "1-5"
    assert frame.headers["custom"] == text
    assert frame.headers["content-length"] == str(len(text.encode()))


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("name", ["id", "receipt"])
def test_a_colon_that_a_client_does_not_escape_is_kept_as_it_was_written(version: Version, name: str) -> None:
    """stomp.js and webstomp never escape: they look for what they wrote."""
    decoder = Decoder(Limits.of(StompOptions()), version)
    decoder.feed(f"SUBSCRIBE\n{name}:a:b\ndestination:/x\n\n\0")
    frame = decoder.next_frame()
    assert frame is not None
    assert (frame.headers[name], frame.verbatim(name)) == ("a:b", "a:b")
    receipt = dialect(version, RAW).encode(Frame(Command.RECEIPT, {"receipt-id": "a:b"}, b"", {"receipt-id": "a:b"}))
    assert receipt == b"RECEIPT\nreceipt-id:a:b\n\n\0"
    if version is not Version.V1_0:
        assert frame.raw == {name: "a:b"}
