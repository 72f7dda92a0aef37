"""STOMP frames to octets and back: incremental, within limits, for all three versions.

A ``Decoder`` is fed what arrives, in pieces of any size, and gives whole frames. A ``Dialect`` words frames for one
kind of client: escaping as its version wants it, quoting as its carrier wants it. What a MESSAGE for many
subscribers has in common is worded once per dialect (``PreparedMessage``).

Where clients in the field leave the specification, the decoder bends in these places, and in no others:

* a carriage return before a line's end is dropped in every version (CR LF is 1.2's alone);
* a colon in a value need not be escaped (stomp.js and webstomp never escape);
* between frames any number of line ends and NULs is skipped (React Native appends NULs);
* in 1.0 blanks around names and values are dropped, and a body on a frame that should have none is ignored.

Knows: the grammar, its limits.
Does not know: connections; what a destination means.
Spec: STOMP 1.2, "STOMP Frames", "Augmented BNF"; STOMP 1.1 and 1.0, the same; docs/stomp-conformance.md, section 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import BadFrame
from ..sockjs.framing import FRAMED, RAW, Binary, Framing, encode_text
from .frame import (
    ACCEPT_VERSION,
    COMMANDS,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DESTINATION,
    ID,
    MESSAGE_ID,
    RECEIPT,
    SUBSCRIPTION,
    UNESCAPED,
    WITH_BODY,
    Command,
    Frame,
    Version,
)
from .options import StompOptions


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decoder lets in, in bytes.

    Attributes:
        head: command and headers together.
        header: one line of them.
        headers: how many.
        body: octets of a body.
    """

    head: int
    header: int
    headers: int
    body: int

    @classmethod
    def of(cls, options: StompOptions) -> Limits:
        """For a client that has logged in."""
        return cls(options.max_head_size, options.max_header_size, options.max_headers, options.max_body_size)

    @classmethod
    def before_login(cls, options: StompOptions) -> Limits:
        """For a client that nobody knows yet."""
        size = options.max_login_size
        return cls(size, min(size, options.max_header_size), options.max_headers, size)


_COMMANDS: Final[Mapping[bytes, Command]] = {name.encode(): command for name, command in COMMANDS.items()}
FIRST_LETTER: Final = ord("A")
LONGEST_COMMAND: Final = max(map(len, COMMANDS))

_find_gap = re.compile(rb"(?:[\n\x00]|\r\n)*+").match
_replace_escapes = re.compile(r"\\(.?)", re.DOTALL).sub
_ESCAPES: Final[Mapping[Version, Mapping[str, str]]] = {
    Version.V1_1: {"n": "\n", "c": ":", "\\": "\\"},
    Version.V1_2: {"n": "\n", "c": ":", "\\": "\\", "r": "\r"},
}
_ECHOED: Final = frozenset({ID, RECEIPT})


class Decoder:
    """Octets or text in, frames out.

    Feed it what arrives, then ask for frames until there is none. After an error it is of no use: the place where
    the next frame begins is unknown.

    Attributes:
        version: decides about escapes. May be changed between two frames.
        limits: what is let in. May be changed between two frames.
    """

    __slots__ = ("_body_at", "_buffer", "_carry", "_frame", "_length", "_scanned", "_start", "limits", "version")

    def __init__(self, limits: Limits, version: Version = Version.V1_2) -> None:
        self.limits = limits
        self.version = version
        self._buffer: bytes | bytearray = b""
        self._start = 0  # of the frame that is being read
        self._scanned = 0  # up to here the end of the head, or of the body, was looked for
        self._frame: Frame | None = None  # its head has been read
        self._body_at = 0
        self._length: int | None = None
        self._carry = ""

    @property
    def buffered(self) -> int:
        """Octets of a frame that is not complete."""
        return len(self._buffer) - self._start

    def feed(self, received: str | bytes) -> None:
        """Take in the next piece.

        Args:
            received: octets; or text, whose boundaries may cut a character in two: clients split at UTF-16 units,
                and SockJS delivers the halves as lone surrogates. They are joined again; what stays alone becomes
                U+FFFD.
        """
        if isinstance(received, str):
            if self._carry or (received and "\ud800" <= received[-1] <= "\udbff"):
                received = self._carry + received
                cut = len(received) - 1 if "\ud800" <= received[-1:] <= "\udbff" else len(received)
                received, self._carry = received[:cut], received[cut:]
            octets = encode_text(received)
        elif self._carry:
            octets = encode_text(self._carry) + received
            self._carry = ""
        else:
            octets = received
        buffer = self._buffer
        if not buffer:
            self._buffer = octets  # the usual case: nothing waits, so nothing is copied
        elif isinstance(buffer, bytearray):
            buffer += octets
        else:
            self._buffer = bytearray(buffer) + octets

    def next_frame(self) -> Frame | None:
        """The next whole frame; None until more is fed.

        Raises:
            BadFrame: what was fed is not STOMP, or passes a limit. A limit is noticed as soon as it is announced
                or passed, not when the frame is complete.
        """
        frame = self._read_frame()
        if frame is None and self._start:
            # What is left must not keep all that came with it in memory.
            self._buffer = self._buffer[self._start :]
            self._scanned = max(0, self._scanned - self._start)
            self._body_at -= self._start
            self._start = 0
        return frame

    # Private.

    def _read_frame(self) -> Frame | None:
        frame = self._frame or self._read_head()
        if frame is None:
            return None
        buffer, body_at, length = self._buffer, self._body_at, self._length
        if length is None:
            end = buffer.find(b"\0", max(self._scanned, body_at))
            if (len(buffer) if end < 0 else end) - body_at > self.limits.body:
                raise self._too_long(frame)
            if end < 0:
                if not self._may_have_body(frame) and len(buffer) > body_at:
                    raise BadFrame(f"{frame.command} has no body", receipt=frame.written_receipt)
                self._scanned = len(buffer)
                return None
        else:
            end = body_at + length
            if len(buffer) <= end:
                return None
            if buffer[end] != 0:
                raise BadFrame("no NUL after the body", f"content-length is {length}", frame.written_receipt)
        if end > body_at:
            if not self._may_have_body(frame):
                raise BadFrame(f"{frame.command} has no body", receipt=frame.written_receipt)
            if frame.command in WITH_BODY:
                frame.body = bytes(buffer[body_at:end])
        self._frame = None
        self._start = self._scanned = end + 1
        if self._start == len(buffer):
            self._buffer, self._start, self._scanned = b"", 0, 0
        return frame

    def _read_head(self) -> Frame | None:
        buffer, start = self._buffer, self._start
        if self._scanned <= start:
            if start < len(buffer) and buffer[start] < FIRST_LETTER:  # most frames follow at once
                gap = _find_gap(buffer, start)
                self._start = start = gap.end() if gap else start
            if start == len(buffer):
                self._buffer, self._start, self._scanned = b"", 0, 0
                return None
            self._scanned = start
        # A head holds no NUL, so the search for its end never runs into what follows.
        most = start + self.limits.head + 3
        nul = buffer.find(b"\0", self._scanned, most)
        stop = most if nul < 0 else nul
        end = buffer.find(b"\n\n", self._scanned, min(stop, most - 1))
        crlf = -1
        if buffer.find(b"\r", self._scanned, stop if end < 0 else end) >= 0:
            crlf = buffer.find(b"\n\r\n", self._scanned, stop if end < 0 else end + 1)
        if end < 0 and crlf < 0:
            self._check_beginning(start, has_nul=nul >= 0)
            self._scanned = max(start, len(buffer) - 2)
            return None
        self._body_at = crlf + 3 if crlf >= 0 else end + 2
        frame = self._frame = self._parse(bytes(buffer[start : crlf if crlf >= 0 else end]))
        self._length = self._content_length(frame)
        self._scanned = min(stop, len(buffer))
        return frame

    def _check_beginning(self, start: int, *, has_nul: bool) -> None:
        # The head is not complete: is it already clear that it never will be?
        buffer = self._buffer
        line = buffer.find(b"\n", start, start + LONGEST_COMMAND + 2)
        if line < 0 and len(buffer) - start > LONGEST_COMMAND + 1:
            raise _unknown_command(bytes(buffer[start : start + 32]))
        if line >= 0:
            _command(bytes(buffer[start:line]).removesuffix(b"\r"))
        if has_nul:
            raise BadFrame("NUL before the empty line that ends the head", receipt=_receipt(bytes(buffer[start:])))
        if len(buffer) - start > self.limits.head + 2:
            raise BadFrame("head too long", f"the limit is {self.limits.head} bytes")

    def _parse(self, head: bytes) -> Frame:
        first, _, rest = head.partition(b"\n")
        command = _COMMANDS.get(first) or _command(first.removesuffix(b"\r"))
        if not rest:
            return Frame(command)
        try:
            return self._parse_headers(command, rest)
        except BadFrame as error:
            error.receipt = _receipt(rest)
            raise

    def _parse_headers(self, command: Command, lines: bytes) -> Frame:
        limits = self.limits
        try:
            text = lines.decode()
        except UnicodeDecodeError:
            raise BadFrame("header is not UTF-8") from None
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        written = text.split("\n")
        if len(written) > limits.headers:
            raise BadFrame("too many headers", f"the limit is {limits.headers}")
        if len(lines) > limits.header and max(map(len, lines.split(b"\n"))) > limits.header:
            raise BadFrame("header too long", f"the limit is {limits.header} bytes")
        try:
            headers = dict([line.split(":", 1) for line in written])  # a third faster than a loop (bench.codec)
        except ValueError:
            headers = {}
        if len(headers) < len(written) or "" in headers:
            headers = _read_one_by_one(written)
        if command in UNESCAPED:
            # without accept-version it is a client of 1.0, where blanks count for nothing
            return Frame(command, headers if ACCEPT_VERSION in headers else _rewrite(headers, _strip))
        if "\\" in text or "\r" in text or text.count(":") > len(headers) or self.version is Version.V1_0:
            return self._reread(command, headers, text)
        return Frame(command, headers)

    def _reread(self, command: Command, headers: dict[str, str], text: str) -> Frame:
        # Headers with something special in them: escapes, further colons, or the customs of 1.0.
        if "\r" in text and self.version is Version.V1_2:
            raise BadFrame("carriage return in a header")
        if self.version is Version.V1_0:
            headers = _rewrite(headers, _strip)
            if "" in headers:
                raise BadFrame("header without name and colon")
        raw = {name: headers[name] for name in _ECHOED if _is_special(headers.get(name, ""))}
        if "\\" in text and self.version is not Version.V1_0:
            known = _ESCAPES[self.version]
            headers = _rewrite(headers, lambda text: _unescape(text, known))
        return Frame(command, headers, b"", raw or None)

    def _content_length(self, frame: Frame) -> int | None:
        text = frame.headers.get(CONTENT_LENGTH)
        if text is None:
            return None
        if len(text) <= 9 and text.isascii() and text.isdigit():
            length = int(text)
        else:
            length = self._odd_length(frame, text)
        if length > self.limits.body:
            raise self._too_long(frame)
        if length and not self._may_have_body(frame):
            raise BadFrame(f"{frame.command} has no body", receipt=frame.written_receipt)
        return length

    def _odd_length(self, frame: Frame, text: str) -> int:
        if self.version is Version.V1_0:
            text = text.strip(" \t")
        if not (text.isascii() and text.isdigit()):  # int() would take signs, blanks and other digits
            raise BadFrame("content-length is no number", receipt=frame.written_receipt)
        digits = text.lstrip("0") or "0"
        if len(digits) > 18:
            raise self._too_long(frame)
        return int(digits)

    def _may_have_body(self, frame: Frame) -> bool:
        return frame.command in WITH_BODY or self.version is Version.V1_0

    def _too_long(self, frame: Frame) -> BadFrame:
        return BadFrame("body too long", f"the limit is {self.limits.body} bytes", frame.written_receipt)


def _read_one_by_one(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise BadFrame("header without name and colon", ascii(line[:100]))
        headers.setdefault(name, value)  # of repeated ones the first counts: "Repeated Header Entries"
    return headers


def _command(line: bytes) -> Command:
    command = _COMMANDS.get(line)
    if command is None:
        raise _unknown_command(line)
    return command


def _unknown_command(line: bytes) -> BadFrame:
    if line.startswith(b"[object "):
        return BadFrame("unknown command", "SockJS carries text, not objects or binary: send a string")
    return BadFrame("unknown command", ascii(line[:32].decode("utf-8", "replace")))


def _receipt(lines: bytes) -> str | None:
    # Of a frame that cannot be read: which receipt will its sender miss?
    for line in lines.split(b"\n"):
        if line.startswith(b"receipt:"):
            written = line[8:200].partition(b"\0")[0].removesuffix(b"\r").decode("utf-8", "replace")
            return None if "\r" in written else written
    return None


def _rewrite(headers: dict[str, str], change: Callable[[str], str]) -> dict[str, str]:
    rewritten: dict[str, str] = {}
    for name, value in headers.items():
        rewritten.setdefault(change(name), change(value))
    return rewritten


def _strip(text: str) -> str:
    return text.strip(" \t")


def _unescape(text: str, known: Mapping[str, str]) -> str:
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        try:
            return known[match[1]]
        except KeyError:
            raise BadFrame("undefined escape in a header", ascii(match[0])) from None

    return _replace_escapes(replace, text)


# Out.

_is_special = re.compile(r"[\\\r\n:]").search
_WRITTEN: Final[Mapping[Version, dict[int, str]]] = {
    # A carriage return has no escape before 1.2, and a line's end none in 1.0.
    Version.V1_0: str.maketrans({"\n": " ", "\r": " "}),
    Version.V1_1: str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c"}),
    Version.V1_2: str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"}),
}


def _write_headers(headers: Mapping[str, str], raw: Mapping[str, str] | None, version: Version | None) -> str:
    # Without a version nothing is escaped; such frames are the server's own, and hold nothing to escape.
    lines = []
    for name, value in headers.items():
        if raw and name in raw:
            value = raw[name]
        elif version and _is_special(value):
            value = value.translate(_WRITTEN[version])
        if version and _is_special(name):
            if version is Version.V1_0 and ":" in name:
                continue  # a name that 1.0 cannot say
            name = name.translate(_WRITTEN[version])
        lines.append(f"{name}:{value}\n")
    return "".join(lines)


class PreparedMessage:
    """A MESSAGE for any number of subscribers, worded once per dialect.

    Attributes:
        destination: as subscribers see it.
        headers: all others, without those that differ per subscriber and ``content-length``.
        body: octets.
        serial: a number that no other message of this server has.
        is_binary: to be sent as binary where the carrier knows binary.
        wordings: what each dialect has made of it; b"" where it cannot be said.
    """

    __slots__ = ("body", "destination", "headers", "is_binary", "serial", "wordings")

    def __init__(self, serial: int, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        self.serial = serial
        self.destination = destination
        self.headers = headers
        self.body = body
        self.is_binary = _is_binary(headers, body)
        self.wordings: dict[Dialect, bytes] = {}


def _is_binary(headers: Mapping[str, str], body: bytes) -> bool:
    return headers.get(CONTENT_TYPE, "").startswith("application/octet-stream") or not _is_text(body)


def _is_text(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


class Dialect:
    """How frames are worded for one kind of client.

    Args:
        version: decides about escapes; None before the login, when nothing is escaped.
        framing: of the carrier, ``FRAMED`` or ``RAW``.
        is_binary: the client talks in binary messages, so it is answered in binary.
    """

    __slots__ = ("_is_quoted", "framing", "is_binary", "version")

    def __init__(self, version: Version | None, framing: Framing, *, is_binary: bool = False) -> None:
        self.version = version
        self.framing = framing
        self.is_binary = is_binary
        self._is_quoted = framing is FRAMED

    def encode(self, frame: Frame) -> bytes | None:
        """``frame``, ready for ``send_prepared``; None where the carrier cannot hold its body (binary over SockJS)."""
        version = None if frame.command in UNESCAPED else self.version
        head = f"{frame.command.value}\n{_write_headers(frame.headers, frame.raw, version)}\n"
        return self._finish(head, frame.body, is_binary=_is_binary(frame.headers, frame.body))

    def prefix(self, subscription: str | None, message_id: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The beginning of a MESSAGE, up to where what ``word`` returns goes on.

        Args:
            subscription: its id as the client wrote it; None if it has none (1.0).
            message_id: its beginning; the message's serial goes on there.
            headers: for this client alone, e.g. ``ack``; they hold nothing to escape.
        """
        text = "MESSAGE\n"
        if subscription is not None:
            text += f"{SUBSCRIPTION}:{subscription}\n"
        if headers is not None:
            text += "".join([f"{name}:{value}\n" for name, value in headers.items()])
        text += f"{MESSAGE_ID}:{message_id}"
        prepared = self.framing.prepare(text)
        return prepared[:-1] if self._is_quoted else prepared

    def word(self, message: PreparedMessage) -> bytes:
        """What ``message`` has in common for all subscribers of this dialect, kept with it; b"" where it cannot be
        said: octets that are no text, over SockJS."""
        # Ours first: some clients drop blanks around names, and then what looked different is a repeated header.
        headers = {DESTINATION: message.destination, CONTENT_LENGTH: str(len(message.body)), **message.headers}
        head = f"{message.serial}\n{_write_headers(headers, None, self.version)}\n"
        worded = self._finish(head, message.body, is_binary=message.is_binary) or b""
        if self._is_quoted:
            worded = worded[1:]
        message.wordings[self] = worded
        return worded

    def _finish(self, head: str, body: bytes, *, is_binary: bool) -> bytes | None:
        if self._is_quoted:
            try:
                return self.framing.prepare(f"{head}{body.decode()}\0")
            except UnicodeDecodeError:
                return None
        octets = b"%b%b\0" % (encode_text(head), body)
        return Binary(octets) if is_binary or self.is_binary else octets


DIALECTS: Final[Mapping[tuple[Version | None, bool, bool], Dialect]] = {
    (version, framing is FRAMED, is_binary): Dialect(version, framing, is_binary=is_binary)
    for version in (None, *Version)
    for framing, is_binary in ((FRAMED, False), (RAW, False), (RAW, True))
}
"""Every dialect there is, by version, whether it is quoted, and whether it is binary. Shared, so that clients of one
dialect share what was worded for it."""


def dialect(version: Version | None, framing: Framing, *, is_binary: bool = False) -> Dialect:
    """The dialect of a client."""
    is_quoted = framing is FRAMED
    return DIALECTS[version, is_quoted, is_binary and not is_quoted]
