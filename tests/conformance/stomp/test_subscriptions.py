"""Section 3: SUBSCRIBE, UNSUBSCRIBE, MESSAGE, ACK and NACK."""

from __future__ import annotations

import pytest

from .clients import ServerFrame
from .site import ALL_CARRIERS, VERSIONS, Site

MODERN = ("1.1", "1.2")
ACKING = ("client", "client-individual")


async def publish(site: Site, count: int = 1) -> None:
    """As many messages to ``/topic/a``, from somebody else."""
    publisher = await site.connect("tcp")
    for number in range(count):
        assert await publisher.ask("SEND", {"destination": "/topic/a"}, str(number)) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["SUBSCRIBE", "SEND"])
async def test_a_destination_is_needed(site: Site, command: str, version: str) -> None:
    """Rule 3.1: STOMP 1.2, "SEND", "SUBSCRIBE"."""
    for lines in ("id:1\n", "id:1\ndestination:\n"):
        client = await site.connect("tcp", version)
        await client.write(f"{command}\n{lines}\n\0")
        await client.refused(f"{command} without destination")


@pytest.mark.parametrize("version", MODERN)
async def test_a_subscription_needs_an_id(site: Site, version: str) -> None:
    """Rule 3.2: STOMP 1.2, "SUBSCRIBE id Header"."""
    client = await site.connect("tcp", version)
    await client.send("SUBSCRIBE", {"destination": "/topic/a", "receipt": "r"})
    assert (await client.refused("SUBSCRIBE without id")).headers["receipt-id"] == "r"


async def test_in_1_0_the_destination_may_serve_as_id(site: Site) -> None:
    """Rule 3.3: STOMP 1.0, "SUBSCRIBE", "UNSUBSCRIBE"."""
    client = await site.connect("tcp", "1.0")
    assert await client.ask("SUBSCRIBE", {"destination": "/topic/a"}) == []
    await publish(site)
    assert "subscription" not in (await client.message()).headers
    assert await client.ask("UNSUBSCRIBE", {"destination": "/topic/a"}) == []
    await publish(site)
    assert await client.settle() == []


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_names_its_subscription_and_has_an_id(site: Site, version: str, carrier: str) -> None:
    """Rule 3.4: STOMP 1.2, "MESSAGE"; the id is unique, and safe for clients that do not unescape."""
    client = await site.connect(carrier, version)
    await client.subscribe("/topic/a", "one")
    await publish(site, 3)
    frames = await client.messages(3)
    assert {frame.headers["subscription"] for frame in frames} == {"one"}
    assert {frame.headers["destination"] for frame in frames} == {"/topic/a"}
    ids = [frame.headers["message-id"] for frame in frames]
    assert len(set(ids)) == 3
    assert all(id.replace("-", "").isalnum() for id in ids)
    assert all("ack" not in frame.headers for frame in frames)


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_subscription_gets_each_message(site: Site, version: str) -> None:
    """Rule 3.5: STOMP 1.2, "SUBSCRIBE id Header": several subscriptions with one server."""
    client = await site.connect("tcp", version)
    for id, destination in (("1", "/topic/a"), ("2", "/topic/a"), ("3", "/topic/*"), ("4", "/topic/b")):
        await client.subscribe(destination, id)
    await publish(site)
    frames = await client.settle()
    assert sorted(frame.headers["subscription"] for frame in frames) == ["1", "2", "3"]
    assert {frame.headers["destination"] for frame in frames} == {"/topic/a"}
    assert len({frame.headers["message-id"] for frame in frames}) == 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_id_that_is_taken_is_an_error(site: Site, version: str) -> None:
    """Rule 3.6: STOMP 1.2, "SUBSCRIBE id Header": MUST be different."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", "one")
    await client.send("SUBSCRIBE", {"id": "one", "destination": "/topic/b", "receipt": "r"})
    assert (await client.refused("subscribed already")).headers["receipt-id"] == "r"


@pytest.mark.parametrize("version", VERSIONS)
async def test_after_unsubscribe_a_subscription_is_silent_and_its_id_free(site: Site, version: str) -> None:
    """Rule 3.7: STOMP 1.2, "UNSUBSCRIBE"."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", "one")
    assert await client.ask("UNSUBSCRIBE", {"id": "one"}) == []
    await publish(site)
    assert await client.settle() == []
    await client.subscribe("/topic/a", "one")
    await publish(site)
    assert len(await client.settle()) == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_unsubscribe_says_what_it_ends(site: Site, version: str) -> None:
    """Rule 3.8: STOMP 1.2, "UNSUBSCRIBE"; an id that is not known is harmless, as in Spring's broker."""
    client = await site.connect("tcp", version)
    assert await client.ask("UNSUBSCRIBE", {"id": "never seen"}) == []
    await client.write("UNSUBSCRIBE\nx:1\n\n\0")
    await client.refused("UNSUBSCRIBE without")


@pytest.mark.parametrize("version", VERSIONS)
async def test_ids_come_back_as_they_were_written(site: Site, version: str) -> None:
    """Rule 3.9: sockbridge's own: stomp.js and webstomp compare what they wrote, and do not unescape."""
    client = await site.connect("tcp", version)
    await client.write("SUBSCRIBE\nid:a:b\\\\c\ndestination:/topic/a\nreceipt:r:1\\\\2\n\n\0")
    await publish(site)
    await client.write("UNSUBSCRIBE\nid:a:b\\\\c\nreceipt:r\n\n\0")
    heard = b""
    while b"receipt-id:r\n\n\0" not in heard:
        heard += await client.reader.read(4096)  # type: ignore[attr-defined]  # octet by octet, not as a frame
    assert b"RECEIPT\nreceipt-id:r:1\\\\2\n\n\0" in heard
    assert b"\nsubscription:a:b\\\\c\n" in heard


@pytest.mark.parametrize("mode", ["", "Auto", "none", "client-cumulative"])
async def test_an_unknown_ack_mode_is_an_error(site: Site, mode: str) -> None:
    """Rule 3.10: STOMP 1.2, "SUBSCRIBE ack Header": three values."""
    client = await site.connect("tcp")
    await client.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": mode})
    await client.refused("ack is auto, client or client-individual")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("mode", ACKING)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
async def test_a_message_is_acknowledged_by_what_its_version_names(
    site: Site, command: str, version: str, mode: str, carrier: str
) -> None:
    """Rules 3.11 and 3.12: STOMP 1.2, "ACK", "NACK": ``id``; 1.1: two headers; 1.0: ``message-id``."""
    client = await site.connect(carrier, version)
    await client.subscribe("/topic/a", ack=mode)
    await publish(site)
    frame = await client.message()
    assert ("ack" in frame.headers) == (version == "1.2")
    assert await client.ask(command, client.settling(frame)) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
async def test_an_ack_without_its_headers_is_an_error(site: Site, command: str, version: str) -> None:
    """Rule 3.12."""
    wanted = {"1.0": ["message-id"], "1.1": ["message-id", "subscription"], "1.2": ["id"]}[version]
    for missing in wanted:
        client = await site.connect("tcp", version)
        headers = {name: "1-1" for name in wanted if name != missing}
        await client.send(command, headers)
        await client.refused(f"{command} without {missing}")


@pytest.mark.parametrize("version", VERSIONS)
async def test_in_mode_client_an_ack_covers_what_came_before_it(site: Site, version: str) -> None:
    """Rule 3.13: STOMP 1.2, "SUBSCRIBE ack Header": cumulative, for this subscription."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", "one", ack="client")
    await client.subscribe("/topic/a", "two", ack="client")
    await publish(site, 3)
    frames: dict[str, list[ServerFrame]] = {"one": [], "two": []}
    for frame in await client.messages(6):
        frames[frame.headers["subscription"]].append(frame)
    assert await client.ask("ACK", client.settling(frames["one"][1])) == []
    assert await client.ask("ACK", client.settling(frames["one"][2])) == []
    assert await client.ask("ACK", client.settling(frames["two"][0])) == []  # the other one's are untouched
    await client.send("ACK", client.settling(frames["one"][0]))
    await client.refused("waits for none")


@pytest.mark.parametrize("version", VERSIONS)
async def test_in_mode_client_individual_an_ack_covers_one_message(site: Site, version: str) -> None:
    """Rule 3.14: STOMP 1.2, "SUBSCRIBE ack Header"."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", ack="client-individual")
    await publish(site, 3)
    frames = await client.messages(3)
    for index in (2, 0, 1):
        assert await client.ask("ACK", client.settling(frames[index])) == []


@pytest.mark.parametrize("mode", ACKING)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_second_ack_is_an_error(site: Site, version: str, mode: str) -> None:
    """Rule 3.15: sockbridge's own; nobody can say what it means."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", ack=mode)
    await publish(site)
    headers = client.settling(await client.message())
    assert await client.ask("ACK", headers) == []
    await client.send("NACK", {**headers, "receipt": "r"})
    assert (await client.refused("waits for none")).headers["receipt-id"] == "r"


@pytest.mark.parametrize("token", ["x", "1-99999", "99-1", "-", "1-", "\u0661-\u0661", "1-1-1"])
async def test_an_ack_of_what_was_never_sent_is_an_error(site: Site, token: str) -> None:
    """Rule 3.15."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a", ack="client")
    await publish(site)
    await client.message()
    await client.send("ACK", {"id": token})
    await client.refused("ACK")


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_ack_that_comes_too_late_or_was_not_wanted_is_harmless(site: Site, version: str) -> None:
    """Rule 3.16: a tolerance: after UNSUBSCRIBE, in mode ``auto``, and stompjs's ``undefined``."""
    client = await site.connect("tcp", version)
    await client.subscribe("/topic/a", "one", ack="client")
    await client.subscribe("/topic/a", "two")
    await publish(site)
    first, second = await client.messages(2)
    assert await client.ask("UNSUBSCRIBE", {"id": "one"}) == []
    for id in (first.headers["message-id"], second.headers["message-id"], "undefined"):
        assert await client.ask("ACK", {"id": id, "message-id": id, "subscription": "one"}) == []


async def test_the_id_of_a_message_is_good_for_its_ack(site: Site) -> None:
    """Rule 3.17: a tolerance: webstomp falls back to ``message-id`` in 1.2."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a", ack="client-individual")
    await publish(site)
    frame = await client.message()
    assert frame.headers["ack"] == frame.headers["message-id"]


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_headers_of_a_send_reach_its_receivers(site: Site, version: str, carrier: str) -> None:
    """Rule 3.18: STOMP 1.2, "MESSAGE": all user-defined headers."""
    client = await site.connect(carrier, version)
    await client.subscribe("/topic/a")
    await client.publish("/topic/a", "x", **{"content-type": "text/x; charset=y", "priority": "4", "Foo": ""})
    headers = (await client.message()).headers
    assert headers["content-type"] == "text/x; charset=y"
    assert (headers["priority"], headers["Foo"]) == ("4", "")


async def test_headers_that_are_the_server_s_cannot_be_forged(site: Site) -> None:
    """Rule 3.19: sockbridge's own; Spring forwards them."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a", "one")
    forged = ("message-id", "subscription", "ack", "receipt-id", "redelivered", "user-name", "login", "passcode")
    (frame,) = await client.ask("SEND", {"destination": "/topic/a", **dict.fromkeys(forged, "forged")}, "x")
    assert "forged" not in frame.headers.values()
    assert "receipt" not in frame.headers


async def test_a_topic_without_subscribers_is_in_order(site: Site) -> None:
    """Rule 3.20: STOMP 1.2, "SEND"; a topic keeps nothing."""
    client = await site.connect("tcp")
    assert await client.ask("SEND", {"destination": "/topic/nobody"}, "x") == []
    await client.subscribe("/topic/nobody")
    assert await client.settle() == []


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_messages_come_in_the_order_of_their_publishing(site: Site, carrier: str) -> None:
    """Rule 3.21: sockbridge's own; always on."""
    subscriber = await site.connect(carrier)
    await subscriber.subscribe("/topic/a")
    publisher = await site.connect("tcp")
    await publisher.write("".join(f"SEND\ndestination:/topic/a\n\n{number}\0" for number in range(200)))
    assert [int(frame.text) for frame in await subscriber.messages(200)] == list(range(200))
