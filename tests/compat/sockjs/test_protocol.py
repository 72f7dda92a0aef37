"""The values of our ``protocol`` are those of the package."""

from __future__ import annotations

import dataclasses
import enum

import pytest
import sockjs as theirs
import sockjs.protocol as their_protocol

import sockbridge.compat.sockjs as ours
from sockbridge.compat.sockjs import protocol


@pytest.mark.parametrize("name", ["MsgType", "SessionState", "Frame"])
def test_an_enumeration_has_the_same_members(name: str) -> None:
    def members(module: object) -> dict[str, object]:
        kind: type[enum.Enum] = getattr(module, name)
        return {member.name: member.value for member in kind}

    assert members(ours) == members(theirs)


def test_a_message_is_made_looked_at_and_compared_alike() -> None:
    for module, constants in ((ours, protocol), (theirs, their_protocol)):
        message = module.SockjsMessage(module.MsgType.MESSAGE, "text")
        assert (message.type, message.tp, message.data) == (module.MsgType.MESSAGE, module.MsgType.MESSAGE, "text")
        assert message == module.SockjsMessage(type=module.MsgType.MESSAGE, data="text")
        assert module.SockjsMessage(module.MsgType.OPEN, None) == constants.OPEN_MESSAGE
        assert module.SockjsMessage(module.MsgType.CLOSE, None) == constants.CLOSE_MESSAGE
        assert module.SockjsMessage(module.MsgType.CLOSED, None) == constants.CLOSED_MESSAGE
        with pytest.raises(dataclasses.FrozenInstanceError):
            message.data = "another"
