"""``add_endpoint`` takes what the package's takes, and says what it does not take."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
import sockjs as theirs
from aiohttp import web

import sockbridge
import sockbridge.compat.sockjs as sockjs
from sockbridge.compat.sockjs.route import TRANSPORTS, FurtherOptions
from sockbridge.options import OptionArguments
from tests.fakes import serve
from tests.transports.wire import Client, fetch


async def handler(manager: Any, session: Any, msg: Any) -> None:
    if msg.type is sockjs.MsgType.MESSAGE:
        session.send(msg.data)


def add(**arguments: Any) -> sockbridge.Options:
    """The options of an endpoint that was added so."""
    app = web.Application()
    sockjs.add_endpoint(app, arguments.pop("handler", handler), name="it", **arguments)
    endpoint = sockjs.get_manager("it", app).endpoint
    assert isinstance(endpoint, sockbridge.Endpoint)
    return endpoint.options


# Bad arguments first.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"heartbeat": 5},
            "no argument heartbeat; there are: name, prefix, .*, debug; and of sockbridge.mount",
        ),
        ({"client_url": "/x.js"}, "no argument client_url; .*sockjs_cdn"),
        ({"disable_transports": "websocket"}, "a list of names out of websocket, .*not 'websocket'"),
        ({"disable_transports": ["xhr"]}, "there is no transport 'xhr'; there are: .*xhr-polling"),
        ({"disable_transports": [*TRANSPORTS]}, "nobody could connect"),
        ({"prefix": "sockjs"}, "a prefix starts with /"),
        ({"sockjs_cdn": 'x"'}, "client_url starts with"),
        ({"heartbeat_delay": "5"}, "heartbeat_delay is a finite number"),
        ({"disconnect_delay": 0}, "disconnect_delay is more than 0"),
        ({"cors_config": "*"}, "cors_config is an aiohttp_cors.CorsConfig or a dict"),
        ({"cors_config": {"*": {"allow_credentials": False}}}, "'\\*' lacks allow_credentials=True"),
        ({"cors_config": {"https://a.example": None}}, "'https://a.example' lacks allow_credentials=True"),
        ({"cors_config": {"a.example": {"allow_credentials": True}}}, "an allowed origin is scheme://host"),
        ({"cors_config": {}, "allowed_origins": "*"}, "say the same"),
    ],
)
def test_an_argument_that_is_not_allowed_is_told(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(sockbridge.InvalidOption, match=words):
        add(**arguments)


def generator(manager: Any, session: Any, msg: Any) -> Any:
    yield


async def old_style(msg: Any, session: Any) -> None: ...


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (None, "wanted is async def handler.manager, session, msg., not None"),
        (generator, "a generator would never run"),
        (old_style, "as since sockjs 0.13: too many positional arguments"),
        (lambda manager: None, "too many positional"),
    ],
)
def test_a_handler_that_cannot_be_called_is_told(bad: Any, words: str) -> None:
    with pytest.raises(sockbridge.UsageError, match=words):
        add(handler=bad)
    app = web.Application()
    with pytest.raises(sockbridge.UsageError, match=words):
        sockjs.add_endpoint(app, handler, manager=sockjs.SessionManager("it", app, bad))


def test_a_name_can_be_given_once_and_must_be_the_manager_s() -> None:
    app = web.Application()
    sockjs.add_endpoint(app, handler, name="it", prefix="/one")
    with pytest.raises(sockbridge.InvalidOption, match="there is an endpoint 'it' already"):
        sockjs.add_endpoint(app, handler, name="it", prefix="/two")
    with pytest.raises(sockbridge.InvalidOption, match="the manager is called 'a', the endpoint 'b'"):
        sockjs.add_endpoint(app, handler, name="b", manager=sockjs.SessionManager("a", app, handler))
    with pytest.raises(sockbridge.InvalidOption, match="mounted under '/one' already"):
        sockjs.add_endpoint(app, handler, prefix="/one")


def test_a_manager_that_is_not_there_is_a_key_error() -> None:
    app = web.Application()
    with pytest.raises(KeyError, match="it"):
        sockjs.get_manager("it", app)
    sockjs.add_endpoint(app, handler, name="another")
    with pytest.raises(KeyError, match="it"):
        sockjs.get_manager("it", app)


# Good ones.


def test_every_argument_of_the_package_is_there_with_its_default() -> None:
    for call in ("add_endpoint", "get_manager"):
        expected = inspect.signature(getattr(theirs, call)).parameters
        found = inspect.signature(getattr(sockjs, call)).parameters
        assert [*expected] == [name for name in found if name != "options"]
        for name, parameter in expected.items():
            assert (found[name].kind, found[name].default) == (parameter.kind, parameter.default), name


def test_every_public_name_of_the_package_is_there_with_its_methods() -> None:
    assert sorted(sockjs.__all__) == sorted(theirs.__all__)
    for kind in (sockjs.Session, sockjs.SessionManager):
        expected = inspect.signature(getattr(theirs, kind.__name__)).parameters
        found = inspect.signature(kind).parameters
        assert [(name, one.kind, one.default) for name, one in found.items()] == [
            (name, one.kind, one.default) for name, one in expected.items()
        ]


def test_all_other_options_of_mount_are_taken() -> None:
    named = {"client_url", "jsessionid", "heartbeat_delay", "disconnect_delay"}
    assert get_type_hints(FurtherOptions) == {
        name: kind for name, kind in get_type_hints(OptionArguments).items() if name not in named
    }


def test_without_arguments_the_options_are_the_package_s() -> None:
    options = add()
    assert (options.heartbeat_delay, options.disconnect_delay, options.jsessionid) == (25, 5, True)
    assert (options.allowed_origins, options.max_message_size) == (None, 1024 * 1024)


def test_arguments_become_options() -> None:
    options = add(
        sockjs_cdn="/sockjs.js",
        cookie_needed="Secure",
        heartbeat_delay=10,
        disconnect_delay=20,
        max_sessions=7,
        allowed_origins=["https://a.example"],
        forwarded=True,
    )
    assert (options.client_url, options.jsessionid, options.max_sessions) == ("/sockjs.js", "Secure", 7)
    assert (options.heartbeat_delay, options.disconnect_delay, options.forwarded) == (10, 20, True)
    assert options.allowed_origins == ("https://a.example",)


@pytest.mark.parametrize("wrap", [dict, lambda origins: SimpleNamespace(defaults=origins)])
@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ([], ()),
        (["*"], "*"),
        (["https://a.example", "*"], "*"),
        (["https://a.example", "http://b.example:81"], ("https://a.example", "http://b.example:81")),
    ],
)
def test_origins_of_cors_config_are_allowed(wrap: Any, origins: list[str], allowed: object) -> None:
    assert add(cors_config=wrap({one: {"allow_credentials": True} for one in origins})).allowed_origins == allowed


async def test_a_manager_that_is_given_decides_about_handler_and_delays() -> None:
    async def shout(manager: Any, session: Any, msg: Any) -> None:
        if msg.type is sockjs.MsgType.MESSAGE:
            session.send(msg.data.upper())

    app = web.Application()
    manager = sockjs.SessionManager("shout", app, shout, heartbeat_delay=60, disconnect_delay=3)
    sockjs.add_endpoint(app, handler, manager=manager, heartbeat_delay=1)
    assert sockjs.get_manager("shout", app) is manager
    assert isinstance(manager.endpoint, sockbridge.Endpoint)
    assert (manager.endpoint.options.heartbeat_delay, manager.endpoint.options.disconnect_delay) == (60, 3)
    async with serve(app) as base:
        client = await Client(f"{base}/sockjs", "websocket").connect()
        await client.send("loud")
        assert await client.messages() == ["LOUD"]
        session = next(manager.active_sessions())
        assert (session.heartbeat_delay, session.disconnect_delay) == (60, 3)
        await client.close()


@pytest.mark.parametrize("disabled", TRANSPORTS)
async def test_a_transport_that_is_disabled_is_not_there_and_the_others_are(disabled: str) -> None:
    app = web.Application()
    sockjs.add_endpoint(app, handler, disable_transports=(disabled,), allowed_origins="*")
    async with serve(app) as base:
        statuses = {}
        for name, urls in TRANSPORTS.items():
            paths = [f"/{url}" if url == "websocket-raw" else f"/000/x{url}/{url}?c=x" for url in urls]
            paths = [path.replace("/websocket-raw", "/websocket") for path in paths]
            statuses[name] = {(await fetch(f"{base}/sockjs{path}", "PUT"))[0].status for path in paths}
        assert statuses == {name: {404} if name == disabled else {405} for name in TRANSPORTS}
        assert (await fetch(f"{base}/sockjs/000/x/xhr_send", "PUT"))[0].status == 405


async def test_without_a_transport_that_sends_by_xhr_there_is_no_sending_by_xhr() -> None:
    app = web.Application()
    sockjs.add_endpoint(
        app,
        handler,
        disable_transports=["xhr-streaming", "eventsource", "htmlfile", "xhr-polling"],
        allowed_origins="*",
    )
    async with serve(app) as base:
        assert (await fetch(f"{base}/sockjs/000/x/xhr_send", "POST", b"[]"))[0].status == 404
        assert (await fetch(f"{base}/sockjs/000/x/jsonp_send", "PUT"))[0].status == 405


def test_the_routes_of_the_endpoint_are_given_back() -> None:
    app = web.Application()
    app.router.add_get("/", handler)  # type: ignore[arg-type]  # never called
    routes = sockjs.add_endpoint(app, handler)
    assert routes
    assert set(routes) < set(app.router.routes())
    assert {route.resource.canonical for route in routes if route.resource is not None} == {"/sockjs"}


async def test_a_sub_application_has_its_own_endpoints() -> None:
    app, inner = web.Application(), web.Application()
    sockjs.add_endpoint(app, handler, name="it")
    sockjs.add_endpoint(inner, handler, name="it")
    app.add_subapp("/inner", inner)
    assert sockjs.get_manager("it", app) is not sockjs.get_manager("it", inner)
    async with serve(app) as base:
        client = await Client(f"{base}/inner/sockjs", "xhr_streaming").connect()
        assert list(sockjs.get_manager("it", inner).sessions) == [client.id]
        assert list(sockjs.get_manager("it", app).sessions) == []
        await client.close()


async def test_authenticate_is_asked_as_well() -> None:
    async def who(request: web.Request) -> str | None:
        return request.headers.get("X-User")

    users = []

    async def greet(manager: Any, session: Any, msg: Any) -> None:
        users.append((session.below.handshake.principal.principal, session.request.headers["X-User"]))

    app = web.Application()
    sockjs.add_endpoint(app, greet, authenticate=who)
    async with serve(app) as base:
        assert (await fetch(f"{base}/sockjs/000/x/xhr", "POST"))[0].status == 401
        client = await Client(f"{base}/sockjs", "xhr_streaming", headers={"X-User": "ada"}).connect()
        assert (await client.post(b'["x"]', headers={"X-User": "eve"}))[0].status == 404
        assert (await client.post(b'["x"]'))[0].status == 204
        await client.close()
    assert set(users) == {("ada", "ada")}
