"""Rules: the first that matches decides, and no pattern leads around one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockbridge.errors import AccessRefused, InvalidOption, UsageError
from sockbridge.stomp.destinations import Pattern
from sockbridge.stomp.policy import EVERYBODY, LOGGED_IN, NOBODY, Action, Policy, Rule, Who, has_role
from sockbridge.stomp.users import User

BOB = User("bob", ["staff"])
ADMIN = User("root", ["admin", "staff"])


def may_connect(policy: Policy, user: User | None) -> bool:
    try:
        policy.check_connect(user)
    except AccessRefused:
        return False
    return True


def may_send(policy: Policy, destination: str, user: User | None = None) -> bool:
    try:
        policy.check_send(user, destination)
    except AccessRefused:
        return False
    return True


def may_subscribe(policy: Policy, destination: str, user: User | None = None, separator: str = "/") -> bool:
    try:
        policy.check_subscribe(user, Pattern(destination, separator))
    except AccessRefused:
        return False
    return True


def make_policy(rules: Sequence[Rule], separator: str = "/") -> Policy:
    """A policy in which everybody may connect."""
    return Policy([Rule.connect(EVERYBODY), *rules], separator)


# Who.


@pytest.mark.parametrize(
    ("who", "guest", "bob", "admin"),
    [
        (EVERYBODY, True, True, True),
        (NOBODY, False, False, False),
        (LOGGED_IN, False, True, True),
        (has_role("admin"), False, False, True),
        (has_role("staff", "admin"), False, True, True),
        (has_role("other"), False, False, False),
        (has_role("adm"), False, False, False),
    ],
)
def test_who_is_who(who: Who, guest: bool, bob: bool, admin: bool) -> None:
    policy = Policy([Rule.connect(who), Rule.send("/a", who), Rule.subscribe("/a", who)])
    for user, expected in ((None, guest), (BOB, bob), (ADMIN, admin)):
        assert may_connect(policy, user) is expected
        assert may_send(policy, "/a", user) is expected
        assert may_subscribe(policy, "/a", user) is expected


def test_has_role_needs_a_role() -> None:
    with pytest.raises(InvalidOption, match="names no role"):
        has_role()


# Making a policy.


def test_what_is_no_rule_is_refused_at_once() -> None:
    with pytest.raises(InvalidOption, match=r"policy is a list of Rule.connect"):
        make_policy(["/topic/a"])  # type: ignore[list-item]


def test_a_rule_without_a_function_is_refused_at_once() -> None:
    with pytest.raises(InvalidOption, match="is a plain function"):
        make_policy([Rule.send("/a", True)])  # type: ignore[arg-type]


@pytest.mark.parametrize("destination", ["", "/a/{}", "/a/{b-c}", "/{x}/{x}", "/a\0", "**/**/**", "/" * 64])
def test_a_rule_for_what_is_no_pattern_is_refused_at_once(destination: str) -> None:
    for rule in (Rule.send(destination, EVERYBODY), Rule.subscribe(destination, EVERYBODY)):
        with pytest.raises(InvalidOption, match=r"^policy: "):
            make_policy([rule])


def test_rules_are_values() -> None:
    assert Rule.connect(NOBODY) == Rule(Action.CONNECT, "", NOBODY)
    assert Rule.send("/a", NOBODY) == Rule(Action.SEND, "/a", NOBODY)
    assert Rule.subscribe("/a", NOBODY) == Rule(Action.SUBSCRIBE, "/a", NOBODY)


# The order.


def test_what_no_rule_matches_is_refused() -> None:
    for policy in (make_policy([]), make_policy([Rule.send("/a", EVERYBODY), Rule.subscribe("/a", EVERYBODY)])):
        assert not may_send(policy, "/b", ADMIN)
        assert not may_subscribe(policy, "/b", ADMIN)
        assert not may_subscribe(policy, "/**", ADMIN)


def test_a_second_rule_for_connecting_is_refused_at_once() -> None:
    with pytest.raises(InvalidOption, match="a second would never be asked"):
        Policy([Rule.connect(LOGGED_IN), Rule.send("/a", EVERYBODY), Rule.connect(EVERYBODY)])


def test_without_a_rule_for_connecting_nobody_gets_in() -> None:
    policy = Policy([Rule.send("/**", EVERYBODY), Rule.subscribe("/**", EVERYBODY)])
    assert not policy.admits
    assert not may_connect(policy, ADMIN)
    assert make_policy([]).admits


def test_the_first_rule_that_matches_decides_alone() -> None:
    rules: list[tuple[str, Who]] = [
        ("/topic/secret", has_role("admin")),
        ("/topic/*", EVERYBODY),
        ("/**", LOGGED_IN),
    ]
    made = [Rule.send(destination, who) for destination, who in rules]
    policy = make_policy([*made, *(Rule.subscribe(destination, who) for destination, who in rules)])
    for may in (may_send, may_subscribe):
        assert not may(policy, "/topic/secret", BOB)
        assert may(policy, "/topic/secret", ADMIN)
        assert may(policy, "/topic/a", None)
        assert not may(policy, "/topic/a/b", None)
        assert may(policy, "/topic/a/b", BOB)


def test_rules_for_one_act_say_nothing_about_another() -> None:
    assert not may_send(make_policy([Rule.subscribe("/**", EVERYBODY)]), "/a")
    assert not may_subscribe(make_policy([Rule.send("/**", EVERYBODY)]), "/a")


def test_variables_of_the_rule_are_given_to_its_function() -> None:
    def owns(user: User | None, variables: Mapping[str, str]) -> bool:
        return user is not None and variables == {"name": user.name, "room": "1"}

    policy = make_policy([Rule.send("/app/{name}/{room}", owns), Rule.subscribe("/topic/{name}/r{room}", owns)])
    assert may_send(policy, "/app/bob/1", BOB)
    assert not may_send(policy, "/app/bob/2", BOB)
    assert not may_send(policy, "/app/root/1", BOB)
    assert may_subscribe(policy, "/topic/bob/r1", BOB)
    assert not may_subscribe(policy, "/topic/root/r1", BOB)


def test_a_refusal_says_no_more_than_what_was_refused() -> None:
    policy = Policy([Rule.connect(NOBODY)])
    with pytest.raises(AccessRefused, match=r"^connecting is not allowed$"):
        policy.check_connect(BOB)
    with pytest.raises(AccessRefused, match=r"^sending to this destination is not allowed$"):
        policy.check_send(BOB, "/topic/a")
    with pytest.raises(AccessRefused, match=r"^subscribing to this destination is not allowed$"):
        policy.check_subscribe(BOB, Pattern("/topic/a"))


async def answers_later(user: User | None, variables: Mapping[str, str]) -> bool:
    return False


class AnswersLater:
    async def __call__(self, user: User | None, variables: Mapping[str, str]) -> bool:
        return False


@pytest.mark.parametrize("who", [answers_later, AnswersLater()])
def test_a_coroutine_function_is_refused_at_once(who: Who) -> None:
    """A coroutine is true, whatever it would return."""
    with pytest.raises(InvalidOption, match="is a plain function"):
        Policy([Rule.connect(who)])


@pytest.mark.parametrize("answer", [1, "no", None, 0, object()])
def test_only_true_allows(answer: object) -> None:
    def odd(user: User | None, variables: Mapping[str, str]) -> bool:
        return answer  # type: ignore[return-value]

    policy = Policy([Rule.connect(odd), Rule.send("/a", odd), Rule.subscribe("/a", odd)])
    with pytest.raises(UsageError, match="returns True or False"):
        policy.check_connect(BOB)
    with pytest.raises(UsageError, match="returns True or False"):
        policy.check_send(BOB, "/a")
    with pytest.raises(UsageError, match="returns True or False"):
        policy.check_subscribe(BOB, Pattern("/a"))


def test_an_exception_of_a_function_is_no_permission() -> None:
    def broken(user: User | None, variables: Mapping[str, str]) -> bool:
        raise LookupError("the application's own")

    policy = Policy([Rule.connect(broken), Rule.send("/a", broken), Rule.subscribe("/a", broken)])
    with pytest.raises(LookupError):
        policy.check_connect(None)
    with pytest.raises(LookupError):
        policy.check_send(None, "/a")
    with pytest.raises(LookupError):
        policy.check_subscribe(None, Pattern("/*"))


def test_a_send_is_never_read_as_a_pattern() -> None:
    """SEND goes to exactly one destination, whatever characters it holds."""
    policy = make_policy([Rule.send("/topic/secret", NOBODY), Rule.send("/topic/?", EVERYBODY)])
    assert may_send(policy, "/topic/*")
    assert not may_send(policy, "/topic/**")


def test_a_destination_of_too_many_segments_matches_no_rule() -> None:
    assert not may_send(make_policy([Rule.send("**", EVERYBODY)]), "/a" * 64)


# The separator.


def test_segments_are_what_stands_between_separators() -> None:
    dotted = [Rule.subscribe("/topic/a.*", EVERYBODY), Rule.send("/topic/a.*", EVERYBODY)]
    policy = make_policy(dotted, ".")
    for may in (may_send, lambda policy, text: may_subscribe(policy, text, separator=".")):
        assert may(policy, "/topic/a.b")
        assert may(policy, "/topic/a.b/c")
        assert not may(policy, "/topic/a.b.c")
        assert not may(policy, "/topic/a/b")
    assert not may_send(make_policy(dotted), "/topic/a.b/c")


def test_patterns_with_dots_cannot_lead_around_a_rule_either() -> None:
    policy = make_policy([Rule.subscribe("/topic/a.secret", NOBODY), Rule.subscribe("/topic/a.**", EVERYBODY)], ".")
    assert may_subscribe(policy, "/topic/a.b", separator=".")
    assert may_subscribe(policy, "/topic/a.b.*", separator=".")
    for around in ("/topic/a.*", "/topic/a.**", "/topic/*.secret", "/topic/?.s*", "**", "*.*", "/topic/a.{x}"):
        assert not may_subscribe(policy, around, separator=".")


# Wildcards.


@pytest.mark.parametrize(
    "around",
    [
        *(
            "/topic/*",
            "/topic/**",
            "/**",
            "**",
            "/*/secret",
            "/topic/s*",
            "/topic/?ecret",
            "/topic/{x}",
            "/topic/s{x}t",
        ),
        *("/{a}/{b}", "**/secret", "/topic/**/secret", "/topic/secret/**", "/topic/*ecre?", "**/*", "/topic/*{x}"),
    ],
)
def test_no_pattern_leads_around_a_forbidden_destination(around: str) -> None:
    policy = make_policy([Rule.subscribe("/topic/secret", has_role("admin")), Rule.subscribe("**", EVERYBODY)])
    assert not may_subscribe(policy, around, BOB)
    assert may_subscribe(policy, around, ADMIN)


@pytest.mark.parametrize("beside", ["/topic/x*", "/topic/open/*", "/other/**", "/topic/secre?x", "/topic/*/deep"])
def test_a_pattern_that_cannot_meet_the_forbidden_destination_is_allowed(beside: str) -> None:
    # Overlap is judged by what stands before the first wildcard, so these differ there, or in the number of segments.
    policy = make_policy([Rule.subscribe("/topic/secret", NOBODY), Rule.subscribe("**", EVERYBODY)])
    assert may_subscribe(policy, beside)


def test_a_pattern_wider_than_what_is_allowed_is_refused() -> None:
    policy = make_policy([Rule.subscribe("/topic/a/*", EVERYBODY)])
    assert may_subscribe(policy, "/topic/a/*")
    assert may_subscribe(policy, "/topic/a/b*")
    for wider in ("/topic/a/**", "/topic/*/b", "/topic/**", "**", "/topic/?/*"):
        assert not may_subscribe(policy, wider)


def test_a_rule_behind_the_one_that_covers_the_pattern_is_not_asked() -> None:
    policy = make_policy([Rule.subscribe("/topic/**", EVERYBODY), Rule.subscribe("/topic/secret", NOBODY)])
    assert may_subscribe(policy, "/topic/secret")
    assert may_subscribe(policy, "/topic/*")


def test_segments_that_are_no_wildcards_fill_the_variables_of_a_rule() -> None:
    def is_member(user: User | None, variables: Mapping[str, str]) -> bool:
        return variables["room"] == "5"

    policy = make_policy([Rule.subscribe("/room/{room}/*", is_member)])
    assert may_subscribe(policy, "/room/5/*")
    assert may_subscribe(policy, "/room/5/a?")
    assert not may_subscribe(policy, "/room/6/*")
    assert not may_subscribe(policy, "/room/*/5")
    assert not may_subscribe(policy, "/room/{room}/*")


AROUND_VARIABLES = ["/topic/*", "/topic/**", "/topic/{room}", "/topic/{other}", "/topic/?ecret", "/topic/s*", "**"]


@pytest.mark.parametrize("around", AROUND_VARIABLES)
def test_no_pattern_leads_around_a_function_that_looks_at_variables(around: str) -> None:
    def is_not_secret(user: User | None, variables: Mapping[str, str]) -> bool:
        return variables["room"] != "secret"

    rules = [Rule.subscribe("/topic/{room}", is_not_secret)]
    for policy in (make_policy(rules), make_policy([*rules, Rule.subscribe("**", EVERYBODY)])):
        assert may_subscribe(policy, "/topic/open")
        assert not may_subscribe(policy, "/topic/secret")
        assert not may_subscribe(policy, around)


@pytest.mark.parametrize("name", ["*", "{name}", "**", "?"])
def test_no_name_of_a_user_turns_a_function_that_looks_at_variables_into_a_skeleton_key(name: str) -> None:
    def is_own(user: User | None, variables: Mapping[str, str]) -> bool:
        return user is not None and user.name == variables["name"]

    policy = make_policy([Rule.subscribe("/inbox/{name}", is_own)])
    assert may_subscribe(policy, "/inbox/bob", BOB)
    assert not may_subscribe(policy, f"/inbox/{name}", User(name))


# Brute force.

PARTS = ["", "a", "b", "ab", "aa"]
DESTINATIONS = ["/".join(parts) for count in (1, 2, 3) for parts in itertools.product(PARTS, repeat=count)]
LITERALS = {separator: [text.replace("/", separator) for text in DESTINATIONS if text] for separator in "/."}


def patterns(separator: str) -> st.SearchStrategy[str]:
    segments = st.sampled_from(
        [*PARTS, "*", "**", "?", "a*", "*b", "?b", "a?", "{x}", "{y}", "a{x}", "{x}b", "*?", "a*b"]
    )
    return (
        st.lists(segments, min_size=1, max_size=3).map(separator.join).filter(lambda text: is_pattern(text, separator))
    )


def is_pattern(text: str, separator: str) -> bool:
    try:
        Pattern(text, separator)
    except UsageError:
        return False
    return True


def check_by_brute_force(policy: Policy, wanted: str, separator: str) -> None:
    if not may_subscribe(policy, wanted, BOB, separator):
        return
    pattern = Pattern(wanted, separator)
    for destination in LITERALS[separator]:
        if pattern.match(destination) is not None:
            allowed = may_subscribe(policy, destination, BOB, separator)
            assert allowed, f"{wanted} is allowed and matches {destination}, which is not"


@given(st.data(), st.sampled_from("/."))
def test_an_allowed_pattern_matches_allowed_destinations_only(data: st.DataObject, separator: str) -> None:
    rules = data.draw(st.lists(st.tuples(patterns(separator), st.sampled_from([EVERYBODY, NOBODY])), max_size=4))
    policy = make_policy([Rule.subscribe(text, who) for text, who in [*rules, ("**", EVERYBODY)]], separator)
    check_by_brute_force(policy, data.draw(patterns(separator)), separator)


def only(*values: str) -> Who:
    return lambda user, variables: set(variables.values()) <= set(values)


def none_of(*values: str) -> Who:
    return lambda user, variables: set(variables.values()).isdisjoint(values)


FUNCTIONS = {
    "only a": only("a"),
    "only wild": only("*", "**", "{x}", "{y}"),
    "not a": none_of("a"),
    "not b": none_of("b"),
}


@given(st.data(), st.sampled_from("/."))
def test_an_allowed_pattern_matches_allowed_destinations_only_where_functions_look_at_variables(
    data: st.DataObject, separator: str
) -> None:
    rules = data.draw(st.lists(st.tuples(patterns(separator), st.sampled_from(sorted(FUNCTIONS))), max_size=4))
    named = [Rule.subscribe(text, FUNCTIONS[name]) for text, name in rules]
    policy = make_policy([*named, Rule.subscribe("**", EVERYBODY)], separator)
    check_by_brute_force(policy, data.draw(patterns(separator)), separator)


@given(st.lists(st.tuples(patterns("/"), st.booleans()), max_size=4), st.sampled_from(LITERALS["/"]))
@example([("**", False), ("**", True)], "a")
def test_a_destination_is_judged_by_the_first_rule_that_matches_it(rules: list[tuple[str, bool]], text: str) -> None:
    expected = next((allow for pattern, allow in rules if Pattern(pattern).match(text) is not None), False)
    made = [(pattern, EVERYBODY if allow else NOBODY) for pattern, allow in rules]
    policy = make_policy([make(pattern, who) for make in (Rule.send, Rule.subscribe) for pattern, who in made])
    assert may_send(policy, text) is expected
    assert may_subscribe(policy, text) is expected


@pytest.mark.parametrize(
    ("separator", "destination"), [(".", "/topic/secret/**"), (".", "/topic/a**"), ("/", "/topic/a**")]
)
def test_stars_that_guard_less_than_they_seem_to_are_refused(separator: str, destination: str) -> None:
    with pytest.raises(InvalidOption, match="as a whole one"):
        Policy([Rule.subscribe(destination, NOBODY)], separator)


def test_stars_that_are_a_whole_segment_guard_what_lies_below() -> None:
    policy = Policy([Rule.send("/app/admin.**", NOBODY), Rule.send("**", EVERYBODY)], ".")
    for destination in ("/app/admin.users.delete", "/app/admin.a", "/app/admin"):
        with pytest.raises(AccessRefused):
            policy.check_send(None, destination)
    policy.check_send(None, "/app/administration")


def test_a_variable_behind_stars_of_the_client_may_have_any_value() -> None:
    """The text of the client's pattern can be laid onto the rule in one way, and what it matches in others."""
    policy = Policy(
        [
            Rule.subscribe("/a/**/{x}/z/**", lambda user, variables: variables["x"] != "secret"),
            Rule.subscribe("**", EVERYBODY),
        ]
    )
    with pytest.raises(AccessRefused):
        policy.check_subscribe(None, Pattern("/a/secret/z"))
    with pytest.raises(AccessRefused):
        policy.check_subscribe(None, Pattern("/a/**/b/z"))


def test_a_rule_that_is_never_asked_is_named() -> None:
    policy = Policy([Rule.send("/app/**", LOGGED_IN), Rule.send("/app/admin/**", has_role("admin"))])
    assert policy.hidden == ["send /app/admin/**"]
    assert Policy([Rule.send("/app/admin/**", has_role("admin")), Rule.send("/app/**", LOGGED_IN)]).hidden == []


@pytest.mark.parametrize("who", [has_role, lambda user: True, lambda: True])
def test_a_function_that_cannot_be_asked_is_refused_at_once(who: object) -> None:
    with pytest.raises(InvalidOption):
        Policy([Rule.send("/app/**", who)])  # type: ignore[arg-type]
