"""What every transport promises that carries messages in by requests, as tests; used as ``TransportContract`` is.

Knows: what clients may rely on, and what a server answers to nonsense.
Does not know: how a transport wraps the messages; the test runner.
Spec: docs/conformance.md, sections 3 and 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..transports.xhr_polling import XhrPollingTransport
from .transport_contract import AWKWARD, LOCAL_ORIGIN, check_methods, check_origins
from .transport_stage import USER, Contract, TransportStage, check_kind, session_url, transport_scene

NO_MESSAGES = ("", "{}", "7", '"abc"', "[7]", '["a", null]')
NO_JSON = ("[", '["abc"', "x", '["a"] x')


class SendingContract(Contract):
    """For a transport by which clients send."""

    def wrap(self, text: str) -> tuple[bytes, Mapping[str, str]]:
        """``(body, headers)`` of a request that carries ``text``: a JSON array of strings, or what is to be refused."""
        return text.encode(), {}

    @transport_scene()
    async def test_messages_arrive_unchanged_in_order_and_several_at_once(self, stage: TransportStage) -> None:
        check_kind(stage.kind, sends=True)
        url = await self._open(stage)
        for message in AWKWARD:
            assert (await self._post(stage, url, json.dumps([message])))[0] in (200, 204)
        assert (await self._post(stage, url, json.dumps(AWKWARD, ensure_ascii=True)))[0] in (200, 204)
        assert (await self._post(stage, url, "[]"))[0] in (200, 204)
        assert await stage.handler.wait_for("on_message", 2 * len(AWKWARD)) == AWKWARD * 2

    @transport_scene()
    async def test_what_is_no_message_is_answered_500_and_ends_nothing(self, stage: TransportStage) -> None:
        url = await self._open(stage)
        for texts, told in ((NO_MESSAGES, "Payload expected."), (NO_JSON, "Broken JSON encoding.")):
            for text in texts:
                assert (await self._post(stage, url, text)) == (500, told), text
        await self._check_that_it_goes_on(stage, url)

    @transport_scene(max_message_size=1000)
    async def test_too_much_is_answered_413_and_ends_nothing(self, stage: TransportStage) -> None:
        url = await self._open(stage)
        assert (await self._post(stage, url, json.dumps(["x" * 1000])))[0] == 413
        await self._check_that_it_goes_on(stage, url)

    @transport_scene()
    async def test_a_session_that_is_unknown_or_over_is_answered_404(self, stage: TransportStage) -> None:
        assert (await self._post(stage, stage.new_url(), '["x"]'))[0] == 404
        assert stage.endpoint.counters.opened == 0

    @transport_scene()
    async def test_what_comes_behind_the_goodbye_reaches_nobody(self, stage: TransportStage) -> None:
        url = await self._open(stage)
        (await stage.handler.session()).close(4000, "Bye")
        await self._post(stage, url, '["late"]')
        await stage.handler.wait_for("on_closed")
        assert stage.handler.values("on_message") == []
        assert stage.endpoint.counters.unheard == 1

    @transport_scene(users=True)
    async def test_nobody_but_its_owner_sends_to_a_session(self, stage: TransportStage) -> None:
        url = await self._open(stage)
        for user in ("bob", ""):
            assert (await self._post(stage, url, '["x"]', {USER: user}))[0] == 404
        await self._check_that_it_goes_on(stage, url)

    @transport_scene()
    async def test_other_methods_are_answered_405(self, stage: TransportStage) -> None:
        await check_methods(stage)

    @transport_scene(allowed_origins=[LOCAL_ORIGIN])
    async def test_pages_of_foreign_origins_are_refused(self, stage: TransportStage) -> None:
        await check_origins(stage)

    async def _open(self, stage: TransportStage) -> str:
        # The URL for this transport, of a session that a poll has opened.
        url = stage.new_url()
        assert await stage.receiver(url, kind=XhrPollingTransport).frame() == "o"
        return url

    async def _post(
        self, stage: TransportStage, url: str, text: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        body, own = self.wrap(text)
        target = f"{session_url(url)}/{stage.kind.name}{self.query}"
        sent = {**own, **(headers or {})}
        status, answer, _ = await stage.status(stage.kind.method, target, data=body, headers=sent)
        return status, answer.strip()

    async def _check_that_it_goes_on(self, stage: TransportStage, url: str) -> None:
        assert (await self._post(stage, url, '["still here"]'))[0] in (200, 204)
        assert await stage.handler.wait_for("on_message") == ["still here"]
