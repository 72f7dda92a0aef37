"""The plugin: its fixtures work with whoever runs coroutines, and it changes nothing where they are unused."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from sockbridge.client.options import RAW_WEBSOCKET, TRANSPORTS
from sockbridge.testing import plugin

pytest_plugins = ["pytester"]

PLUGIN = ["-p", "sockbridge.testing.plugin"]
ASYNCIO = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]
AIOHTTP = [*ASYNCIO, "-p", "pytest_aiohttp.plugin"]

STRICT = ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # it is imported already, by us

HANDLER = """
import pytest

import sockbridge


async def echo(session):
    async for message in session:
        session.send(message)
"""

TESTS = (
    HANDLER
    + """
{mark}
async def test_echo(sockbridge_server, sockbridge_client, sockbridge_transport):
    url = await sockbridge_server(echo, prefix="/echo")
    client = await sockbridge_client(url, sockbridge_transport)
    await client.send("hello")
    assert await client.receive() == "hello"
    assert client.transport == sockbridge_transport


{mark}
async def test_cut(sockbridge_client, sockbridge_server):
    client = await sockbridge_client(await sockbridge_server(echo))
    await client.cut()
    with pytest.raises(sockbridge.errors.SessionLost):
        await client.receive()


{mark}
async def test_stomp(sockbridge_stomp):
    from sockbridge import stomp

    server = stomp.StompServer(stomp.EmbeddedBroker(topics=["/topic"]))
    ann = await sockbridge_stomp(server, "ann")
    await ann.subscribe("1", "/topic/news")
    await server.messaging.send("/topic/news", "x")
    assert (await ann.message()).body == b"x"


def test_sync():
    pass
"""
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the plugins that a test names."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.mark.parametrize(
    ("runner", "mark"),
    [
        ([*ASYNCIO, "-o", "asyncio_mode=strict"], "@pytest.mark.asyncio"),
        ([*ASYNCIO, "-o", "asyncio_mode=auto"], ""),
        ([*AIOHTTP, "-o", "asyncio_mode=strict"], "@pytest.mark.asyncio"),
        ([*AIOHTTP, "-o", "asyncio_mode=auto"], ""),
    ],
    ids=["strict", "auto", "aiohttp-strict", "aiohttp-auto"],
)
def test_the_fixtures_work_with_pytest_asyncio(pytester: pytest.Pytester, runner: list[str], mark: str) -> None:
    pytester.makepyfile(TESTS.format(mark=mark))
    result = pytester.runpytest_inprocess(*PLUGIN, *runner, *STRICT)
    result.assert_outcomes(passed=len(plugin.TRANSPORTS) + 3)


def test_the_order_of_the_plugins_does_not_matter(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format(mark=""))
    result = pytester.runpytest_inprocess(*ASYNCIO, "-o", "asyncio_mode=auto", *PLUGIN, *STRICT)
    result.assert_outcomes(passed=len(plugin.TRANSPORTS) + 3)


def test_the_fixtures_work_in_a_loop_of_the_whole_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format(mark=""))
    scopes = ["asyncio_default_fixture_loop_scope=session", "asyncio_default_test_loop_scope=session"]
    options = [part for scope in scopes for part in ("-o", scope)]
    result = pytester.runpytest_inprocess(*ASYNCIO, *PLUGIN, "-o", "asyncio_mode=auto", *options, *STRICT)
    result.assert_outcomes(passed=len(plugin.TRANSPORTS) + 3)


def test_a_fixture_in_another_loop_than_the_test_says_what_to_set(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format(mark=""))
    options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session"]
    result = pytester.runpytest_inprocess(*ASYNCIO, *PLUGIN, *options, "-k", "test_stomp")
    result.assert_outcomes(failed=1, deselected=len(plugin.TRANSPORTS) + 2)
    result.stdout.fnmatch_lines(["*run in two event loops; give both the same scope*"])


def test_the_fixtures_work_with_anyio(pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio", reason="anyio is not installed")
    pytester.makepyfile(
        TESTS.format(mark="@pytest.mark.anyio")
        + """

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
    )
    result = pytester.runpytest_inprocess(*PLUGIN, "-p", "anyio.pytest_plugin", *STRICT)
    result.assert_outcomes(passed=len(plugin.TRANSPORTS) + 3)


def test_where_nobody_runs_coroutines_the_fixture_says_so_and_all_else_works(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
def test_server(sockbridge_server):
    pass


def test_transport(sockbridge_transport):
    pass
"""
    )
    result = pytester.runpytest_inprocess(*PLUGIN, *STRICT)
    result.assert_outcomes(errors=1, passed=len(plugin.TRANSPORTS))
    result.stdout.fnmatch_lines(["sockbridge_server is a fixture for tests that are coroutine functions: install *"])


def test_the_fixtures_are_listed_with_what_they_do(pytester: pytest.Pytester) -> None:
    for runner in ([], ASYNCIO):
        result = pytester.runpytest_inprocess(*PLUGIN, *runner, "--fixtures")
        for name in ("sockbridge_server", "sockbridge_client", "sockbridge_transport", "sockbridge_stomp"):
            result.stdout.fnmatch_lines([f"{name}*"])
        result.stdout.fnmatch_lines(["*serves until the end of the test.*"])


def test_no_marker_and_no_option_is_added(pytester: pytest.Pytester) -> None:
    def told(option: str, *plugins: str) -> list[str]:
        lines = pytester.runpytest_inprocess(*ASYNCIO, *plugins, *STRICT, option).stdout.lines
        return [line for line in lines if not line.startswith("plugins: ")]

    for option in ("--markers", "--help"):
        assert told(option, *PLUGIN) == told(option)


def test_nothing_but_the_faces_is_imported_before_a_fixture_is_used() -> None:
    code = "import sys, sockbridge.testing; before = set(sys.modules); import sockbridge.testing.plugin as plugin;"
    code += "print(*sorted(set(sys.modules) - before)); print(plugin.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    imported = ran.stdout.splitlines()[0].split()
    assert [name for name in imported if name.startswith(("sockbridge", "pytest_asyncio", "aiohttp"))] == [
        "sockbridge.testing.plugin"
    ]


def test_the_transports_are_those_of_the_client() -> None:
    assert (*TRANSPORTS, RAW_WEBSOCKET) == plugin.TRANSPORTS


def test_pytest_finds_the_plugin_by_itself() -> None:
    found = [entry.value for entry in entry_points(group="pytest11") if entry.name == "sockbridge"]
    if not found:
        pytest.skip("this installation is older than the plugin: install it again")
    assert found == ["sockbridge.testing.plugin"]
