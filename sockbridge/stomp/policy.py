"""Who may connect, subscribe and send: an ordered list of rules, of which the first that matches decides.

What no rule matches is refused. A SUBSCRIBE may hold wildcards: it is refused as soon as it could match a single
destination that a rule forbids, so no pattern leads around a rule.

Knows: rules, users, patterns.
Does not know: frames, connections, how a user was recognized.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import AccessRefused, InvalidOption, UsageError
from ..options import is_async
from .destinations import Pattern, has_wildcard, misplaced_stars
from .users import User

Who = Callable[[User | None, Mapping[str, str]], bool]
"""Decides about a user (None: a guest) and the variables of the rule's pattern. Where a SUBSCRIBE holds a wildcard in
the place of a variable, the function is not asked: nobody may subscribe to all values of what it looks at."""


class Action(enum.Enum):
    """What a client wants to do."""

    CONNECT = "connect"
    SUBSCRIBE = "subscribe"
    SEND = "send"


def EVERYBODY(user: User | None, variables: Mapping[str, str]) -> bool:
    """Guests as well."""
    return True


def NOBODY(user: User | None, variables: Mapping[str, str]) -> bool:
    """Not even administrators."""
    return False


def LOGGED_IN(user: User | None, variables: Mapping[str, str]) -> bool:
    """Whoever has a name."""
    return user is not None


@dataclass(frozen=True, slots=True)
class HasRole:
    """What ``has_role`` returns."""

    roles: frozenset[str]

    def __call__(self, user: User | None, variables: Mapping[str, str]) -> bool:
        return user is not None and not user.roles.isdisjoint(self.roles)


def has_role(*roles: str) -> HasRole:
    """Users who have one of ``roles``.

    Raises:
        InvalidOption: it names none, so nobody would have it.
    """
    if not roles:
        raise InvalidOption("has_role() names no role, so nobody would have it")
    return HasRole(frozenset(roles))


def _check_who(rule: Rule) -> None:
    # A mistake is told at the start, not at the first client.
    who: object = rule.who
    if who is has_role:
        raise InvalidOption('has_role is called: has_role("admin")')
    if not callable(who) or is_async(who):
        raise InvalidOption(f"the last value of {rule!r} is a plain function, e.g. LOGGED_IN or has_role(...)")
    try:
        inspect.signature(who).bind(None, {})
    except TypeError as error:
        raise InvalidOption(f"the function of {rule!r} takes a user and a dict of variables: {error}") from None


def _allows(who: Who, user: User | None, variables: Mapping[str, str]) -> bool:
    # Only True allows: what is merely truthy, a coroutine for one, is a mistake.
    allowed = who(user, variables)
    if not isinstance(allowed, bool):
        raise UsageError(f"a rule's function returns True or False, not {allowed!r}")
    return allowed


def _looks_at_variables(who: Who) -> bool:
    return who not in (EVERYBODY, NOBODY, LOGGED_IN) and not isinstance(who, HasRole)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do one thing. Made by ``Rule.connect``, ``Rule.subscribe`` and ``Rule.send``.

    Attributes:
        action: the thing.
        destination: a pattern; "" for connecting.
        who: decides.
    """

    action: Action
    destination: str
    who: Who

    @classmethod
    def connect(cls, who: Who) -> Rule:
        """Who may connect at all."""
        return cls(Action.CONNECT, "", who)

    @classmethod
    def subscribe(cls, destination: str, who: Who) -> Rule:
        """Who may subscribe to what ``destination``, a pattern, matches."""
        return cls(Action.SUBSCRIBE, destination, who)

    @classmethod
    def send(cls, destination: str, who: Who) -> Rule:
        """Who may send to what ``destination``, a pattern, matches."""
        return cls(Action.SEND, destination, who)


class Policy:
    """The rules of one server, compiled.

    Attributes:
        hidden: rules that are never asked, since one before them matches whatever they match.
    """

    def __init__(self, rules: Sequence[Rule], separator: str = "/") -> None:
        """
        Raises:
            InvalidOption: a rule is none, or its destination is no pattern.
        """
        self.hidden: list[str] = []
        self._connect: Who | None = None
        self._rules: dict[Action, list[tuple[Pattern, Who]]] = {Action.SUBSCRIBE: [], Action.SEND: []}
        for rule in rules:
            if not isinstance(rule, Rule):
                raise InvalidOption(f"policy is a list of Rule.connect(...), .subscribe(...), .send(...), not {rule!r}")
            _check_who(rule)
            if rule.action is Action.CONNECT:
                if self._connect is not None:
                    raise InvalidOption("the first Rule.connect(...) decides, so a second would never be asked")
                self._connect = rule.who
                continue
            try:
                pattern = Pattern(rule.destination, separator)
            except UsageError as error:
                raise InvalidOption(f"policy: {error} ({rule.destination!r})") from None
            fault = misplaced_stars(rule.destination, separator)
            if fault:
                raise InvalidOption(f"policy: {fault} ({rule.destination!r})")
            if any(earlier.covers(pattern) for earlier, _ in self._rules[rule.action]):
                self.hidden.append(f"{rule.action.value} {rule.destination}")
            self._rules[rule.action].append((pattern, rule.who))

    @property
    def admits(self) -> bool:
        """Is there a rule for connecting? Without one nobody gets in."""
        return self._connect is not None

    def check_connect(self, user: User | None) -> None:
        """
        Raises:
            AccessRefused: this user may not connect.
        """
        if self._connect is None or not _allows(self._connect, user, {}):
            raise AccessRefused("connecting is not allowed")

    def check_send(self, user: User | None, destination: str) -> None:
        """
        Raises:
            AccessRefused: this user may not send there.
        """
        for pattern, who in self._rules[Action.SEND]:
            variables = pattern.match(destination)
            if variables is not None:
                if _allows(who, user, variables):
                    return
                break
        raise AccessRefused("sending to this destination is not allowed")

    def check_subscribe(self, user: User | None, wanted: Pattern) -> None:
        """
        Raises:
            AccessRefused: this user may not subscribe to all that ``wanted`` matches.
        """
        for pattern, who in self._rules[Action.SUBSCRIBE]:
            variables = pattern.match(wanted.text)
            if not wanted.is_literal:
                if not pattern.overlaps(wanted):
                    continue
                if _looks_at_variables(who) and not _is_bound(pattern, wanted, variables):
                    break
            elif variables is None:
                continue
            if not _allows(who, user, variables or {}):
                break
            if wanted.is_literal or pattern.covers(wanted):
                return
        raise AccessRefused("subscribing to this destination is not allowed")


def _is_bound(pattern: Pattern, wanted: Pattern, variables: Mapping[str, str] | None) -> bool:
    # Has each variable of the rule one value in all that the client's pattern can match?
    if not pattern.variables:
        return True
    if variables is None or any(map(has_wildcard, variables.values())):
        return False
    end = pattern.last_variable + 1
    return not any(segment.is_deep for segment in (*pattern.segments[:end], *wanted.segments[:end]))
