"""The decorators: they collect, change nothing, and refuse at once what can be seen at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from sockbridge.errors import InvalidController
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.controllers.mapping import OWN_QUEUE, Controller, Kind, Mapped, Reply
from sockbridge.stomp.server import StompServer


def function() -> str:
    return "called"


def one(controller: Controller) -> Mapped:
    (mapped,) = controller.seal()
    return mapped


def test_a_function_is_handed_back_unchanged_and_can_be_mapped_again() -> None:
    controller = Controller("/chat")
    assert controller.message_mapping("/a", "/b")(function) is function
    assert controller.subscribe_mapping("/a")(function) is function
    assert controller.exception_handler(ValueError)(function) is function
    assert function() == "called"
    assert controller.prefix == "/chat"
    assert [mapped.kind for mapped in controller.seal()] == [Kind.MESSAGE, Kind.SUBSCRIBE, Kind.EXCEPTION]
    assert controller.seal()[0].destinations == ("/a", "/b")
    assert controller.seal()[2].exceptions == (ValueError,)


def test_controllers_are_apart() -> None:
    first, second = Controller(), Controller()
    first.message_mapping("/a")(function)
    assert (len(first.seal()), second.seal()) == (1, ())


@pytest.mark.parametrize(
    ("arguments", "send_to", "send_to_user", "is_default"),
    [
        ({}, (), (), True),
        ({"send_to": "/topic/a"}, ("/topic/a",), (), False),
        ({"send_to": ["/topic/a", "/topic/b"]}, ("/topic/a", "/topic/b"), (), False),
        ({"send_to_user": "/queue/a"}, (), ("/queue/a",), False),
        ({"send_to_user": ("/queue/a", "/queue/b")}, (), ("/queue/a", "/queue/b"), False),
        ({"send_to_user": True}, (), (OWN_QUEUE,), False),
        ({"send_to_user": False}, (), (), True),
        ({"send_to": "/topic/a", "send_to_user": True}, ("/topic/a",), (OWN_QUEUE,), False),
    ],
)
def test_targets_are_one_several_or_the_default(
    arguments: dict[str, Any], send_to: tuple[str, ...], send_to_user: tuple[str, ...], is_default: bool
) -> None:
    controller = Controller()
    for decorator in (controller.message_mapping, controller.subscribe_mapping):
        decorator("/a", **arguments)(function)
    for mapped in controller.seal():
        assert (mapped.send_to, mapped.send_to_user, mapped.is_default) == (send_to, send_to_user, is_default)


def test_an_exception_handler_has_no_default_target() -> None:
    controller = Controller()
    controller.exception_handler(ValueError, KeyError, send_to_user="/queue/errors", broadcast=False, everywhere=True)(
        function
    )
    mapped = one(controller)
    assert (mapped.send_to, mapped.send_to_user, mapped.is_default) == ((), ("/queue/errors",), False)
    assert (mapped.is_broadcast, mapped.is_everywhere, mapped.exceptions) == (False, True, (ValueError, KeyError))


def test_what_is_not_asked_for_is_off() -> None:
    controller = Controller()
    controller.message_mapping("/a")(function)
    mapped = one(controller)
    assert (mapped.is_broadcast, mapped.is_concurrent, mapped.is_everywhere) == (True, False, False)


def test_concurrent_and_broadcast_are_taken_down() -> None:
    controller = Controller()
    controller.subscribe_mapping("/a", broadcast=False, concurrent=True)(function)
    mapped = one(controller)
    assert (mapped.is_broadcast, mapped.is_concurrent) == (False, True)


class Service:
    def method(self) -> None:
        """Mapped."""

    def __call__(self) -> None:
        """Mapped."""


@pytest.mark.parametrize(
    ("mapped", "name"),
    [
        (function, "test_mapping.function"),
        (Service().method, "test_mapping.Service.method"),
        (Service(), "test_mapping.Service"),
        (functools.partial(function), "partial"),
    ],
)
def test_a_function_has_a_name_for_people(mapped: Callable[..., Any], name: str) -> None:
    assert name in Mapped(Kind.MESSAGE, mapped).name


@pytest.mark.parametrize("destinations", [(), (5,), ("/a", None), (b"/a",), (function,)])
def test_a_mapping_without_destinations_is_refused(destinations: Any) -> None:
    with pytest.raises(InvalidController, match="message_mapping takes destinations"):
        Controller().message_mapping(*destinations)
    with pytest.raises(InvalidController, match="subscribe_mapping takes destinations"):
        Controller().subscribe_mapping(*destinations)


@pytest.mark.parametrize("exceptions", [(), (5,), (ValueError(),), (str,), (KeyboardInterrupt,), (ValueError, "x")])
def test_an_exception_handler_names_classes_of_exceptions(exceptions: Any) -> None:
    with pytest.raises(InvalidController, match="exception_handler takes classes"):
        Controller().exception_handler(*exceptions)


@pytest.mark.parametrize("target", ["topic/a", "", ["/topic/a", "topic/b"], [5]])
@pytest.mark.parametrize("name", ["send_to", "send_to_user"])
def test_a_target_that_is_no_destination_is_refused_and_its_argument_named(name: str, target: Any) -> None:
    controller = Controller()
    for decorate in (
        controller.message_mapping("/a", **{name: target}),
        controller.exception_handler(ValueError, **{name: target}),
    ):
        with pytest.raises(InvalidController, match=f"{name} is a destination"):
            decorate(function)
    assert controller.seal() == ()


@pytest.mark.parametrize("function", [5, None, "function"])
def test_what_cannot_be_called_is_not_mapped(function: Any) -> None:
    controller = Controller()
    for decorate in (controller.message_mapping("/a"), controller.exception_handler(ValueError)):
        with pytest.raises(InvalidController, match="a function is mapped"):
            decorate(function)
    assert controller.seal() == ()


def test_a_reply_has_no_headers_unless_it_is_given_some() -> None:
    assert Reply("a").headers == {}
    assert Reply("a", {"x": "1"}) == Reply("a", {"x": "1"})


def test_what_is_mapped_after_a_server_was_made_is_refused() -> None:
    """Nobody would ever call it."""
    controller = Controller()
    StompServer(EmbeddedBroker(), controllers=[controller])
    StompServer(EmbeddedBroker(), controllers=[controller])  # several servers may share one
    with pytest.raises(InvalidController, match="too late"):

        @controller.message_mapping("/late")
        async def late(text: str) -> None: ...
