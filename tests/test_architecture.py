"""The house: who may import whom, which rooms are pure, how large a file may be.

A new file needs its row in ``MAY_IMPORT``, in the same commit; so does a new import between two files.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import sockbridge

PACKAGE = Path(sockbridge.__file__).parent

FACE = "__init__"
STOMP_FACE = "stomp/__init__"
TESTING_FACE = "testing/__init__"
CLIENT_FACE = "client/__init__"
STOMP_CLIENT_FACE = "client/stomp/__init__"
COMPAT_FACE = "compat/sockjs/__init__"
FACES = {FACE, STOMP_FACE, TESTING_FACE, CLIENT_FACE, STOMP_CLIENT_FACE, COMPAT_FACE}
SHELF = "transports/__init__"

OUTER = ("client/", "compat/", "doctor/", "testing/", "cli", "__main__")
"""Beginnings of the names of files that stand beside the server or on top of it: nothing of the server imports them."""

MAY_IMPORT: dict[str, str] = {
    # file: the files of sockbridge that it may import, the lower rooms first
    "errors": "",
    "options": "errors",
    "sockjs/__init__": "",
    "sockjs/framing": "errors",
    "sockjs/handshake": "",
    "sockjs/session": "errors options sockjs/framing sockjs/handshake",
    "sockjs/handler": "errors options sockjs/framing sockjs/session",
    "sockjs/runner": "",
    "sockjs/delivery": "errors sockjs/framing sockjs/handler sockjs/runner sockjs/session",
    "sockjs/manager": (
        "errors options sockjs/framing sockjs/handshake sockjs/session sockjs/handler sockjs/delivery sockjs/runner"
    ),
    "transports/answer": "",
    "transports/callback": "",
    "transports/headers": "",
    "transports/peer": "errors",
    "transports/receiver": "errors sockjs/session transports/peer",
    "transports/admission": "options sockjs/handshake sockjs/session transports/headers",
    "transports/base": (
        "errors options sockjs/framing sockjs/session sockjs/manager "
        "transports/admission transports/answer transports/callback transports/headers transports/receiver"
    ),
    "transports/polling": "errors sockjs/framing sockjs/session transports/base",
    "transports/sending": "errors options sockjs/framing transports/base",
    "transports/streaming": "errors sockjs/session transports/base transports/connection transports/receiver",
    "transports/websocket_frames": "",
    "transports/compiled_reader": "transports/websocket_frames",
    "transports/websocket_upgrade": "transports/websocket_frames",
    "transports/connection": "",
    "transports/websocket": (
        "errors options sockjs/framing sockjs/session sockjs/manager transports/admission transports/answer "
        "transports/base transports/compiled_reader transports/receiver transports/connection "
        "transports/websocket_frames transports/websocket_upgrade"
    ),
    "transports/websocket_raw": (
        "errors options sockjs/framing sockjs/manager transports/admission transports/websocket"
    ),
    "transports/xhr_polling": "transports/polling",
    "transports/xhr_send": "transports/headers transports/sending",
    "transports/xhr_streaming": "transports/streaming",
    "transports/eventsource": "transports/headers transports/streaming",
    "transports/htmlfile": "sockjs/framing transports/headers transports/streaming",
    "transports/jsonp": "errors transports/headers transports/htmlfile transports/polling transports/sending",
    SHELF: (
        "transports/websocket transports/websocket_raw transports/xhr_polling transports/xhr_send "
        "transports/xhr_streaming transports/eventsource transports/htmlfile transports/jsonp"
    ),
    "pages": "options transports/admission transports/headers",
    "endpoint": (
        "errors options sockjs/framing sockjs/session sockjs/handler sockjs/manager "
        f"transports/admission transports/base transports/websocket {SHELF} pages"
    ),
    "stomp/options": "errors",
    "stomp/frame": "errors",
    "stomp/codec": "errors sockjs/framing stomp/options stomp/frame",
    "stomp/destinations": "errors",
    "stomp/heart_beat": "errors stomp/options",
    "stomp/users": "sockjs/handshake stomp/frame",
    "stomp/policy": "errors options stomp/destinations stomp/users",
    "stomp/subscription": "errors sockjs/framing stomp/frame stomp/codec stomp/destinations stomp/users",
    "stomp/transactions": "errors stomp/options stomp/frame",
    "stomp/unsettled": "errors stomp/frame stomp/subscription",
    "stomp/connection": (
        "errors sockjs/framing sockjs/handshake stomp/options stomp/frame stomp/codec stomp/destinations "
        "stomp/heart_beat stomp/users stomp/subscription stomp/transactions stomp/unsettled"
    ),
    "stomp/interceptors": "stomp/frame stomp/connection",
    "stomp/tasks": "stomp/subscription stomp/connection",
    "stomp/events": "sockjs/framing stomp/subscription stomp/connection stomp/tasks",
    "stomp/registry": "stomp/codec stomp/subscription stomp/connection",
    "stomp/payloads": "errors sockjs/framing",
    "stomp/broker/__init__": "",
    "stomp/controllers/__init__": "",
    "stomp/broker/base": "stomp/frame stomp/codec stomp/destinations",
    "stomp/broker/options": "errors",
    "stomp/broker/headers": "errors stomp/codec stomp/destinations stomp/broker/base",
    "stomp/broker/holding": "errors stomp/codec",
    "stomp/broker/queues": (
        "errors stomp/frame stomp/codec stomp/counters stomp/broker/base stomp/broker/headers stomp/broker/holding"
    ),
    "stomp/broker/history": (
        "errors stomp/codec stomp/destinations stomp/broker/options stomp/broker/headers stomp/broker/holding"
    ),
    "stomp/broker/replay": (
        "errors stomp/codec stomp/counters stomp/broker/base stomp/broker/headers stomp/broker/history"
    ),
    "stomp/broker/durable": "errors stomp/frame stomp/codec stomp/broker/base stomp/broker/queues",
    "stomp/broker/presence": "errors stomp/destinations stomp/broker/base",
    "stomp/broker/temporary": "errors stomp/destinations stomp/broker/headers",
    "stomp/broker/pacing": "errors stomp/broker/base",
    "stomp/broker/distribution": (
        "errors stomp/codec stomp/counters stomp/broker/base stomp/broker/options stomp/broker/headers "
        "stomp/broker/holding stomp/broker/queues stomp/broker/temporary stomp/broker/pacing"
    ),
    "stomp/broker/topics": (
        "errors stomp/codec stomp/destinations stomp/counters stomp/broker/base stomp/broker/options "
        "stomp/broker/headers stomp/broker/holding stomp/broker/history stomp/broker/replay "
        "stomp/broker/durable stomp/broker/pacing stomp/broker/distribution"
    ),
    "stomp/broker/embedded": (
        "errors stomp/frame stomp/codec stomp/destinations stomp/counters stomp/broker/base "
        "stomp/broker/options stomp/broker/headers stomp/broker/holding stomp/broker/history "
        "stomp/broker/presence stomp/broker/temporary stomp/broker/pacing stomp/broker/distribution "
        "stomp/broker/topics"
    ),
    "stomp/controllers/arguments": "errors sockjs/session stomp/frame stomp/users stomp/connection stomp/payloads",
    "stomp/controllers/mapping": "errors",
    "stomp/counters": "",
    "stomp/messaging": (
        "errors stomp/frame stomp/codec stomp/destinations stomp/connection stomp/registry "
        "stomp/payloads stomp/broker/base"
    ),
    "stomp/controllers/dispatcher": (
        "errors stomp/frame stomp/destinations stomp/subscription stomp/connection stomp/tasks "
        "stomp/registry stomp/payloads stomp/broker/base stomp/controllers/arguments "
        "stomp/controllers/mapping stomp/counters stomp/messaging"
    ),
    "stomp/routing": (
        "errors stomp/frame stomp/codec stomp/destinations stomp/connection stomp/broker/base stomp/messaging "
        "stomp/controllers/dispatcher"
    ),
    "stomp/commands": (
        "errors sockjs/framing stomp/options stomp/frame stomp/codec stomp/destinations stomp/policy "
        "stomp/subscription stomp/connection stomp/interceptors stomp/tasks stomp/events stomp/registry "
        "stomp/broker/base stomp/counters stomp/controllers/dispatcher stomp/routing"
    ),
    "stomp/server": (
        "errors options sockjs/framing sockjs/session sockjs/handler stomp/options stomp/frame "
        "stomp/destinations stomp/heart_beat stomp/users stomp/policy stomp/connection "
        "stomp/interceptors stomp/tasks stomp/events stomp/registry stomp/payloads stomp/broker/base "
        "stomp/controllers/mapping stomp/counters stomp/messaging stomp/controllers/dispatcher "
        "stomp/routing stomp/commands"
    ),
    "stomp/tcp": "errors sockjs/framing sockjs/handshake stomp/connection stomp/server",
    "stomp/__init__": (
        "stomp/options stomp/frame stomp/codec stomp/destinations stomp/users stomp/policy "
        "stomp/subscription stomp/connection stomp/interceptors stomp/events stomp/registry "
        "stomp/payloads stomp/broker/base stomp/broker/embedded stomp/broker/history stomp/broker/options "
        "stomp/broker/presence stomp/controllers/arguments "
        "stomp/controllers/mapping stomp/counters stomp/messaging stomp/server stomp/tcp"
    ),
    "client/faults": "",
    "client/handshake": "",
    "client/address": "errors",
    "client/backoff": "errors",
    "client/frames": "errors sockjs/framing",
    "client/info": "errors client/faults client/address",
    "client/options": "errors sockjs/framing client/backoff",
    "client/outbox": "sockjs/framing",
    "client/carrier": "errors sockjs/framing client/frames client/options",
    "client/http": "sockjs/framing client/faults client/address client/frames client/carrier",
    "client/session": "errors sockjs/framing client/frames client/options client/outbox client/carrier",
    "client/websocket": "sockjs/framing client/faults client/handshake client/address client/frames client/carrier",
    "client/lines": "client/frames client/carrier client/http",
    "client/xhr_polling": "client/frames client/carrier client/http",
    "client/eventsource": "client/frames client/carrier client/lines",
    "client/xhr_streaming": "client/frames client/carrier client/lines",
    "client/connecting": (
        "errors client/address client/backoff client/info client/options client/carrier client/session "
        "client/websocket client/xhr_polling client/eventsource client/xhr_streaming"
    ),
    CLIENT_FACE: "client/backoff client/options client/session client/connecting",
    "client/stomp/inbox": "",
    "client/stomp/options": "errors stomp/frame stomp/codec client/backoff client/options",
    "client/stomp/outgoing": "errors sockjs/framing stomp/frame stomp/codec",
    "client/stomp/link": "errors sockjs/framing stomp/frame client/options client/session",
    "client/stomp/place": "stomp/broker/headers",
    "client/stomp/conversation": (
        "errors stomp/frame stomp/codec stomp/heart_beat client/stomp/inbox client/stomp/options "
        "client/stomp/outgoing client/stomp/link"
    ),
    "client/stomp/tcp": "errors client/faults client/stomp/link",
    "client/stomp/message": (
        "errors stomp/frame stomp/broker/headers client/stomp/inbox client/stomp/outgoing client/stomp/place "
        "client/stomp/conversation"
    ),
    "client/stomp/subscription": (
        "errors sockjs/framing stomp/frame client/stomp/inbox client/stomp/place client/stomp/conversation "
        "client/stomp/message"
    ),
    "client/stomp/transaction": "errors stomp/frame client/stomp/conversation client/stomp/message",
    "client/stomp/subscriptions": (
        "errors stomp/frame client/stomp/outgoing client/stomp/conversation client/stomp/subscription"
    ),
    "client/stomp/client": (
        "errors stomp/frame stomp/payloads client/stomp/inbox client/stomp/options client/stomp/outgoing "
        "client/stomp/link client/stomp/conversation client/stomp/subscription client/stomp/transaction "
        "client/stomp/subscriptions"
    ),
    "client/stomp/connecting": (
        "errors stomp/frame client/address client/options client/connecting client/stomp/options "
        "client/stomp/outgoing client/stomp/link client/stomp/tcp client/stomp/client"
    ),
    STOMP_CLIENT_FACE: (
        "client/stomp/options client/stomp/message client/stomp/subscription client/stomp/transaction "
        "client/stomp/client client/stomp/connecting"
    ),
    "testing/loop": "",
    "testing/handler_errors": "testing/loop",
    "testing/handshake": "sockjs/handshake",
    "testing/relay": "errors testing/loop",
    "testing/memory_receiver": "errors sockjs/session",
    "testing/watched_handler": "errors sockjs/framing sockjs/session sockjs/handler",
    "testing/memory_endpoint": (
        "errors options sockjs/framing sockjs/session sockjs/handler sockjs/manager testing/loop "
        "testing/handler_errors testing/watched_handler"
    ),
    "testing/memory_session": (
        "errors options sockjs/framing sockjs/handshake sockjs/session sockjs/handler testing/loop "
        "testing/handler_errors testing/handshake testing/memory_receiver testing/memory_endpoint"
    ),
    "testing/relayed_client": "errors sockjs/framing client/session client/connecting testing/loop testing/relay",
    "testing/serving": "errors sockjs/handler endpoint testing/handler_errors",
    "testing/stomp_client": (
        "errors sockjs/framing sockjs/handshake stomp/frame stomp/codec stomp/connection stomp/server"
    ),
    "testing/factories": (
        "errors sockjs/handler endpoint stomp/frame stomp/server testing/relayed_client testing/serving "
        "testing/stomp_client"
    ),
    "testing/stage": (
        "stomp/frame stomp/policy stomp/broker/base stomp/broker/history stomp/server testing/loop testing/stomp_client"
    ),
    "testing/transport_stage": (
        "errors sockjs/framing sockjs/session sockjs/handler transports/base transports/sending "
        "transports/streaming transports/websocket transports/xhr_polling transports/xhr_send endpoint "
        "testing/loop testing/relay testing/serving"
    ),
    "testing/plugin": "testing/factories",
    "testing/queue_contract": "stomp/frame testing/stomp_client testing/stage",
    "testing/topic_contract": "stomp/frame stomp/broker/history testing/stomp_client testing/stage",
    "testing/transport_contract": (
        "errors sockjs/framing transports/streaming transports/xhr_polling testing/loop testing/transport_stage"
    ),
    "testing/broker_contract": "testing/queue_contract testing/topic_contract",
    "testing/sending_contract": "transports/xhr_polling testing/transport_stage testing/transport_contract",
    TESTING_FACE: (
        "testing/loop testing/relay testing/memory_endpoint testing/memory_session testing/relayed_client "
        "testing/serving testing/stomp_client testing/stage testing/transport_stage testing/queue_contract "
        "testing/topic_contract testing/transport_contract testing/broker_contract testing/sending_contract"
    ),
    "compat/__init__": "",
    "compat/sockjs/protocol": "",
    "compat/sockjs/exceptions": "errors",
    "compat/sockjs/session": "errors sockjs/framing sockjs/session compat/sockjs/protocol",
    "compat/sockjs/bridge": (
        "errors sockjs/framing sockjs/session sockjs/handler compat/sockjs/protocol compat/sockjs/session"
    ),
    "compat/sockjs/route": "errors options endpoint compat/sockjs/session compat/sockjs/bridge",
    COMPAT_FACE: ("compat/sockjs/protocol compat/sockjs/exceptions compat/sockjs/session compat/sockjs/route"),
    "doctor/__init__": "",
    "doctor/findings": "",
    "doctor/remedies": "doctor/findings",
    "doctor/report": "doctor/findings doctor/remedies",
    "doctor/settings": "errors client/address",
    "doctor/probe": "client/faults client/handshake doctor/findings doctor/settings",
    "doctor/rich_report": "doctor/findings doctor/remedies doctor/report",
    "doctor/reach": "errors doctor/findings doctor/settings doctor/probe",
    "doctor/idle": "client/faults doctor/findings doctor/probe doctor/reach",
    "doctor/opening": "doctor/findings doctor/probe doctor/reach",
    "doctor/origins": "doctor/findings doctor/settings doctor/probe doctor/reach",
    "doctor/sockets": "client/faults doctor/findings doctor/probe doctor/reach",
    "doctor/affinity": "doctor/findings doctor/probe doctor/reach doctor/origins",
    "doctor/cookies": "doctor/findings doctor/probe doctor/reach doctor/origins",
    "doctor/bodies": "doctor/findings doctor/probe doctor/reach doctor/affinity",
    "doctor/echo": (
        "errors sockjs/framing client/session client/connecting doctor/findings doctor/probe doctor/reach doctor/bodies"
    ),
    "doctor/examine": (
        "errors doctor/findings doctor/settings doctor/probe doctor/reach doctor/idle doctor/opening "
        "doctor/origins doctor/sockets doctor/affinity doctor/cookies doctor/bodies doctor/echo"
    ),
    "cli": "errors doctor/findings doctor/report doctor/settings doctor/rich_report doctor/examine",
    "__main__": "cli",
    FACE: (
        f"errors options sockjs/framing sockjs/handshake sockjs/session sockjs/handler sockjs/manager {SHELF} endpoint"
    ),
}

PURE = {
    "errors", "options", "sockjs/framing", "sockjs/handshake", "sockjs/session", "transports/callback",
    "stomp/options", "stomp/frame", "stomp/codec", "stomp/destinations", "stomp/heart_beat", "stomp/users",
    "stomp/policy", "stomp/subscription", "stomp/unsettled", "stomp/transactions", "stomp/connection",
    "stomp/payloads", "stomp/registry", "stomp/controllers/mapping", "stomp/controllers/arguments", "stomp/counters",
    "stomp/broker/base", "stomp/broker/options", "stomp/broker/holding", "stomp/broker/queues", "stomp/broker/history",
    "stomp/broker/durable", "stomp/broker/presence", "stomp/broker/temporary", "stomp/broker/headers",
    "stomp/broker/replay",
    "client/backoff", "client/frames", "client/stomp/outgoing", "client/stomp/place",
    "compat/sockjs/exceptions", "compat/sockjs/protocol", "compat/sockjs/session",
    "doctor/findings", "doctor/remedies", "doctor/report",
}  # fmt: skip
"""Files without loop, clock and chance: what they need of those is passed in."""

KNOWS_THE_LOOP = {
    "sockjs/session", "sockjs/handler", "sockjs/delivery", "sockjs/runner", "sockjs/manager",
    "stomp/tasks", "stomp/broker/pacing", "stomp/broker/distribution", "stomp/broker/embedded",
    "stomp/server", "stomp/tcp",
}  # fmt: skip
"""Files of the server below the transports that may import asyncio; ``session`` only to let a coroutine wait."""

PASSIVE_ASYNCIO = {"Event", "sleep"}

KNOWS_THE_CLOCK = {
    "sockjs/manager", "pages", "transports/answer", "transports/headers",
    "stomp/server", "stomp/tcp", "stomp/users",
    "stomp/broker/pacing", "stomp/broker/embedded",
}  # fmt: skip
"""Files of the server that may ask for the time or for chance: they hand it on to the others. (``stomp/users`` names
the type of a moment, and asks for none.)"""

CLOCKS = {"time", "datetime", "random", "secrets", "uuid"}

CONTAINS_ERRORS = {
    "sockjs/delivery", "sockjs/runner", "sockjs/manager", "transports/compiled_reader",
    "stomp/commands", "stomp/controllers/dispatcher", "stomp/events", "stomp/interceptors", "stomp/server",
    "client/session", "client/stomp/client", "compat/sockjs/bridge", "cli",
}  # fmt: skip
"""Files that catch whatever others raise: the handler's calls, here and in the style of the package ``sockjs``; what an
application does when a client of ours has connected again; what nobody expected in the command, to say it in a
sentence; what a coroutine raises or is to be told, only to hand
it on; the handler's ``on_stop``, and a third party's receiver; whatever another version of aiohttp may do; of STOMP
what authentication and policy call, controllers, events, interceptors, brokers, and a third party's carrier."""

MAX_CODE_LINES = 350


def files() -> list[str]:
    return sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))


def is_outer(file: str) -> bool:
    """Beside the server, or on top of it, and not pure: it may ask for the time."""
    return file.startswith(OUTER) and file not in PURE


def source(file: str) -> str:
    return (PACKAGE / f"{file}.py").read_text(encoding="utf-8")


def imports(file: str, text: str) -> Iterator[str]:
    """Every module that ``text`` imports, wherever it stands, by its full dotted name; names in it as well."""
    package = ["sockbridge", *file.split("/")[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inner_imports(file: str, text: str) -> set[str]:
    """The files of sockbridge among the imports."""
    found = set()
    for name in imports(file, text):
        first, *parts = name.split(".")
        if first == "sockbridge":
            # the longest beginning of the name that is a file; what follows is a name in it
            candidates = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
            spellings = [spelling for one in candidates for spelling in (one, f"{one}/__init__")]
            found.add(next((one for one in spellings if (PACKAGE / f"{one}.py").is_file()), FACE))
    return found


def outer_imports(file: str, text: str) -> set[str]:
    """The top-level packages among the imports, sockbridge's own left out."""
    return {name.partition(".")[0] for name in imports(file, text)} - {"sockbridge", "__future__"}


def code_lines(text: str) -> int:
    """Lines with code: no blank lines, comments and docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in caught
    )


# The tools themselves.

SAMPLE = '''"""Docstring
of two lines."""
from __future__ import annotations
import asyncio  # a comment is no code
from typing import TYPE_CHECKING
from .. import errors, options as knobs
from . import framing
from .session import Session
import sockbridge.pages
from sockbridge import mount
from ..transports import DEFAULT_TRANSPORTS

if TYPE_CHECKING:
    from ..transports.base import Transport


# another comment
def late():
    """Docstring."""
    from aiohttp import web

    return """two
    lines"""
'''


def test_imports_are_found_wherever_they_stand() -> None:
    assert inner_imports("sockjs/sample", SAMPLE) == {
        "errors",
        "options",
        "sockjs/framing",
        "sockjs/session",
        "pages",
        FACE,
        SHELF,
        "transports/base",
    }
    assert outer_imports("sockjs/sample", SAMPLE) == {"asyncio", "typing", "aiohttp"}


def test_only_code_counts_as_code() -> None:
    assert code_lines(SAMPLE) == 15


# The house.


def test_every_file_has_its_row_and_every_row_its_file() -> None:
    assert sorted(MAY_IMPORT) == files()


@pytest.mark.parametrize("file", files())
def test_a_file_imports_what_its_row_allows_and_no_row_allows_more(file: str) -> None:
    assert sorted(inner_imports(file, source(file))) == sorted(MAY_IMPORT[file].split())


def test_nobody_imports_a_face_but_the_endpoint_its_shelf() -> None:
    users = {
        file: faces
        for file in files()
        if (faces := {one for one in inner_imports(file, source(file)) if one.endswith("__init__")})
    }
    assert users == {FACE: {SHELF}, "endpoint": {SHELF}}


def test_imports_draw_no_circle() -> None:
    below = {file: inner_imports(file, source(file)) for file in files()}
    while free := [file for file, lower in below.items() if not lower]:
        for file in free:
            del below[file]
        below = {file: lower - set(free) for file, lower in below.items()}
    assert below == {}, "each of these imports another of these"


def test_only_the_upper_rooms_know_aiohttp() -> None:
    users = {file for file in files() if "aiohttp" in outer_imports(file, source(file))}
    assert users <= {"endpoint", "pages"} | {file for file in files() if file.startswith(("transports/", *OUTER))}
    assert not users & (PURE | KNOWS_THE_LOOP)


def test_only_the_endpoint_knows_yarl() -> None:
    server = [file for file in files() if not file.startswith(OUTER)]
    assert {file for file in server if "yarl" in outer_imports(file, source(file))} == {"endpoint"}


def test_nothing_of_the_server_imports_what_stands_beside_it() -> None:
    server = [file for file in files() if not file.startswith(OUTER)]
    assert {file for file in server if any(one.startswith(OUTER) for one in inner_imports(file, source(file)))} == set()


def test_only_these_rooms_below_the_transports_know_the_loop() -> None:
    below = [file for file in files() if not file.startswith(("transports/", *OUTER)) or file in PURE]
    assert {file for file in below if "asyncio" in outer_imports(file, source(file))} == KNOWS_THE_LOOP


def test_the_session_uses_the_loop_only_to_wait() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(source("sockjs/session")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "asyncio"
    }
    assert used <= PASSIVE_ASYNCIO


@pytest.mark.parametrize("file", sorted(file for file in files() if file not in KNOWS_THE_CLOCK and not is_outer(file)))
def test_time_and_chance_are_passed_in(file: str) -> None:
    tree = ast.parse(source(file))
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) if isinstance(node.func, ast.Attribute)
    }
    assert outer_imports(file, source(file)) & CLOCKS == set()
    if file in PURE | KNOWS_THE_LOOP:
        assert called & {"time", "now", "monotonic", "perf_counter", "call_later", "call_at", "urandom"} == set()


def test_pure_files_import_nothing_that_acts() -> None:
    allowed = {
        "asyncio",  # session only, see above
        "contextlib", "functools", "heapq", "itertools",
        "collections", "dataclasses", "datetime", "enum", "http", "inspect", "json", "math", "msgspec", "multidict",
        "re", "types", "typing", "urllib",
    }  # fmt: skip
    assert {file: names for file in PURE if (names := outer_imports(file, source(file)) - allowed)} == {}


@pytest.mark.parametrize("file", sorted(set(files()) - CONTAINS_ERRORS))
def test_nobody_else_catches_everything(file: str) -> None:
    handlers = [node for node in ast.walk(ast.parse(source(file))) if isinstance(node, ast.ExceptHandler)]
    assert [handler.lineno for handler in handlers if catches_everything(handler)] == []


@pytest.mark.parametrize("file", files())
def test_a_file_stays_small_and_says_what_it_is(file: str) -> None:
    assert code_lines(source(file)) <= MAX_CODE_LINES
    assert ast.get_docstring(ast.parse(source(file)))
