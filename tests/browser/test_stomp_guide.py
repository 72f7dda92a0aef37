"""Pages as front ends of Spring have them: a plain websocket at the mounted URL, a form, a list."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import serve

from .conftest import Visitor, within
from .stomp_clients import stomp_scripts as stomp_scripts
from .stomp_site import StompSite

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_page_of_the_guide_greets_in_two_windows(stomp_scripts: None, browser: Any, visitor: Visitor) -> None:
    site = StompSite()
    page = visitor.page
    context = await browser.new_context()  # a second tab would be in the background, where Chromium is slow
    other = await context.new_page()
    async with serve(site.app) as url:
        for window in (page, other):
            await within(window.goto(url + "/greetings"))
            assert await window.text_content("#state") == "away"
            assert await window.is_disabled("#send")
            await window.click("#connect")
            await window.wait_for_function("document.getElementById('state').textContent === 'there'")
        await site.witness.until(lambda: sum(len(one.subscriptions) for one in site.server.connections) == 2)
        for name in ("Zoë", "<b>nobody</b>"):
            await page.fill("#name", name)
            await page.click("#send")
        for window in (page, other):
            await window.wait_for_selector("li:nth-child(2)")
            assert await window.locator("li").all_text_contents() == ["Hello, Zoë!", "Hello, <b>nobody</b>!"]
        await page.click("#disconnect")
        await page.wait_for_function("document.getElementById('state').textContent === 'away'")
        await site.witness.until(lambda: len(site.witness.closes) == 1)
        assert len(site.server) == 1
        assert site.server.counters.faults == 0
    await context.close()


async def test_page_shows_that_the_server_has_gone(stomp_scripts: None, visitor: Visitor) -> None:
    page = visitor.page
    async with serve(StompSite().app) as url:
        await within(page.goto(url + "/greetings"))
        await page.click("#connect")
        await page.wait_for_function("document.getElementById('state').textContent === 'there'")
    await page.wait_for_function("document.getElementById('state').textContent === 'away'")


async def test_closed_window_leaves_nothing_behind(stomp_scripts: None, visitor: Visitor) -> None:
    site = StompSite()
    async with serve(site.app) as url:
        await within(visitor.page.goto(url + "/greetings"))
        await visitor.page.click("#connect")
        await site.witness.until(lambda: sum(len(one.subscriptions) for one in site.server.connections) == 1)
        await visitor.visit(url)
        await site.witness.until(lambda: len(site.witness.closes) == 1)
        assert len(site.server) == 0
