"""What helps against each cause: a sentence, and the very lines for nginx, HAProxy and sockbridge.

Knows: texts, and what of a report belongs into them; ``tests/doctor`` has the proxies read their lines.
Does not know: how a cause is found.
Spec: docs/proxies.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from .findings import Cause, Finding


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do. In ``REMEDIES`` words in angle brackets stand for what ``fitted`` puts there.

    Attributes:
        text: a sentence or two.
        nginx: lines for the ``location`` of the endpoint; empty if there is nothing to do in nginx.
        haproxy: lines, each where its comment says; empty as above.
        sockbridge: options of ``mount``; empty as above.
    """

    text: str
    nginx: tuple[str, ...] = ()
    haproxy: tuple[str, ...] = ()
    sockbridge: tuple[str, ...] = ()


_CORS_IN_ONE_PLACE: Final = (
    "# add no Access-Control-* header in the proxy: let",
    "# the server's answers pass as they are",
)

REMEDIES: Final[dict[Cause, Remedy]] = {
    Cause.REDIRECTED: Remedy(
        "Give the page the URL that the server redirects to: websockets and POST requests do not follow redirects."
    ),
    Cause.NOT_VERIFIED: Remedy("Run again without --insecure; SSL_CERT_FILE names the file of a CA of your own."),
    Cause.INFO_CACHED: Remedy(
        "Switch off caching for the whole prefix.",
        nginx=("proxy_cache off;",),
        haproxy=("# backend: remove 'http-request cache-use' and 'http-response cache-store'",),
    ),
    Cause.INFO_CACHEABLE: Remedy(
        "The server says 'Cache-Control: no-store, no-cache, no-transform' with /info; let the proxy pass it on.",
        nginx=("# remove 'proxy_hide_header Cache-Control;' and 'expires'",),
        haproxy=("# remove what changes Cache-Control in http-response",),
    ),
    Cause.GREETING_MISSING: Remedy(
        "Only people who open the URL miss it. If the rest works, the proxy passes on only what lies below the URL."
    ),
    Cause.OWN_ORIGIN_REFUSED: Remedy(
        "The server does not know under which address browsers see it. Let the proxy tell it, and let it believe that. "
        "A line that is there with another value is to be replaced: two of them are two headers.",
        nginx=(
            "proxy_set_header Host              $http_host;",
            "proxy_set_header X-Forwarded-Host  $http_host;",
            "proxy_set_header X-Forwarded-Proto $scheme;",
            "proxy_set_header X-Forwarded-For   $remote_addr;",
        ),
        haproxy=(
            "# frontend:",
            "http-request set-header X-Forwarded-Proto https",
            "http-request set-header X-Forwarded-Host  %[req.hdr(Host)]",
            "http-request set-header X-Forwarded-For   %[src]",
        ),
        sockbridge=("forwarded=True",),
    ),
    Cause.ORIGIN_REFUSED: Remedy(
        "Pages of this origin are not let in. If they should be, name them.",
        sockbridge=('allowed_origins=["<origin>"]',),
    ),
    Cause.CORS_STRIPPED: Remedy(
        "Something on the way removes the CORS headers that the server sends.",
        nginx=("# remove 'proxy_hide_header Access-Control-...;'",),
        haproxy=("# remove 'http-response del-header Access-Control-...'",),
    ),
    Cause.CORS_DOUBLED: Remedy(
        "The server sends CORS headers and the proxy adds its own; browsers refuse two. Leave them to the server.",
        nginx=("# remove 'add_header Access-Control-...;'", *_CORS_IN_ONE_PLACE),
        haproxy=("# remove 'http-response add-header Access-Control-...'", *_CORS_IN_ONE_PLACE),
    ),
    Cause.CORS_WRONG: Remedy(
        "Browsers want Access-Control-Allow-Origin with the page's very origin, and Access-Control-Allow-Credentials: "
        "true. The server sends both; something on the way puts others in their place.",
        nginx=("# remove 'add_header Access-Control-...;'", *_CORS_IN_ONE_PLACE),
        haproxy=("# remove 'http-response set-header Access-Control-...'", *_CORS_IN_ONE_PLACE),
    ),
    Cause.PREFLIGHT_REFUSED: Remedy(
        "Let OPTIONS requests through to the server, which answers them. sockjs-client sends none by itself.",
        nginx=("# remove what answers OPTIONS, such as 'if ($request_method = OPTIONS)' or 'limit_except'",),
        haproxy=("# remove 'http-request deny' or 'return' for METH_OPTIONS",),
    ),
    Cause.UPGRADE_STRIPPED: Remedy(
        "Pass Upgrade and Connection on to the server.",
        nginx=(
            "proxy_http_version 1.1;",
            "proxy_set_header Upgrade    $http_upgrade;",
            "proxy_set_header Connection $connection_upgrade;",
            "# and in the http block:",
            "# map $http_upgrade $connection_upgrade { default upgrade; '' ''; }",
        ),
        haproxy=("# remove 'http-request del-header Upgrade' and 'option httpclose'",),
    ),
    Cause.WEBSOCKET_REFUSED: Remedy(
        "Let websocket handshakes through: rules of a firewall, an authentication in the proxy, or a location that "
        "does not lead to the server. If websockets cannot be let through, spare the clients the attempt.",
        nginx=("# the same location for all below the prefix, not one for known files only",),
        haproxy=("# look for 'http-request deny' that matches hdr(Upgrade)",),
        sockbridge=("websocket=False",),
    ),
    Cause.WEBSOCKET_SILENT: Remedy(
        "The handshake passes and the frames do not, so something on the way answers it that does not pass frames on: "
        "a firewall that looks into connections, or a proxy without support for websockets. TLS helps against the "
        "former. If it cannot be helped, spare the clients the attempt.",
        sockbridge=("websocket=False",),
    ),
    Cause.BUFFERED: Remedy(
        "Something keeps answers until they are complete, and streams never are. sockbridge asks nginx not to buffer "
        "(X-Accel-Buffering: no): it is told to ignore that, or it is another proxy that buffers.",
        nginx=(
            "proxy_buffering off;",
            "gzip off;",
            "# remove 'proxy_ignore_headers X-Accel-Buffering;'",
        ),
        haproxy=(
            "# defaults: option http-no-delay",
            "# remove 'http-response wait-for-body' and 'compression'",
        ),
    ),
    Cause.COMPRESSED: Remedy(
        "Compression tends to hold streams back; switch it off for the prefix.",
        nginx=("gzip off;",),
        haproxy=("# backend: remove 'compression algo'",),
    ),
    Cause.SHORT_STREAMS: Remedy(
        "Each answer ends after one frame, so streaming is polling. If response_limit is not meant to be so small, "
        "something on the way ends answers.",
        sockbridge=("response_limit=128 * 1024  # the default",),
    ),
    Cause.NO_ANSWER: Remedy(
        "The request got no answer and does not seem to have reached the server: look at its log, and at the log of "
        "the proxy in front of it."
    ),
    Cause.REFUSED: Remedy(
        "Who answered, the server or a proxy, shows the text of the answer; look at its log.",
        nginx=("# one location for all below the prefix, with one rule about access and methods",),
        haproxy=("# look for 'http-request deny', 'auth' and 'return' that match the path or the method",),
    ),
    Cause.METHOD_REFUSED: Remedy(
        "Something lets GET pass and refuses POST, by which clients without websockets send and most of them receive. "
        "Let POST through, for all below the prefix.",
        nginx=("# remove 'limit_except GET', or 'if ($request_method ...)'",),
        haproxy=("# remove 'http-request deny' that matches METH_POST or method",),
    ),
    Cause.BLOCKED: Remedy(
        "Who answers 404 here seems not to be the server that answers the rest: look for a rule about this path. "
        "Clients take another transport meanwhile; those that have no other are shut out.",
        nginx=("# remove the 'location' or 'return 404' that matches this transport",),
        haproxy=("# remove 'http-request deny' and 'return' that match this transport's path",),
    ),
    Cause.CUT: Remedy("Look at the logs of the proxy and the server for the moment of this run."),
    Cause.NOT_SOCKJS: Remedy(
        "Something else answers here than the SockJS server: a login page, an error page with status 200, or a rule "
        "that leads part of the prefix elsewhere. Lead the whole prefix to the server."
    ),
    Cause.NO_AFFINITY: Remedy(
        "A session lives in one process. Keep each client on one of them, by the server segment of the URL.",
        nginx=(
            "# in the http block; in the upstream: hash $sockjs_server consistent;",
            "map $uri $sockjs_server {",
            "    ~^<pattern>/(?<segment>[^/.]+)/[^/.]+/[a-z_]+$ $segment;",
            "    default $remote_addr;",
            "}",
        ),
        haproxy=(
            "# backend, instead of 'balance roundrobin':",
            "balance hash path,field(<field>,/)",
            "hash-type consistent",
        ),
    ),
    Cause.AFFINITY_BY_COOKIE: Remedy(
        "Pages of another site lose their sessions where browsers block third-party cookies. The server segment of "
        "the URL is the better key.",
        haproxy=("balance hash path,field(<field>,/)", "hash-type consistent"),
    ),
    Cause.COOKIE_MISSING: Remedy(
        "/info announces a cookie (cookie_needed) and no answer sets JSESSIONID: something on the way removes "
        "Set-Cookie.",
        nginx=("# remove 'proxy_hide_header Set-Cookie;' and 'proxy_ignore_headers Set-Cookie;'",),
        haproxy=("# remove 'http-response del-header Set-Cookie'",),
        sockbridge=("jsessionid=True",),
    ),
    Cause.COOKIE_NOT_CROSS_SITE: Remedy(
        "Browsers keep this cookie from pages of another site.",
        sockbridge=('jsessionid="Secure; SameSite=None"',),
    ),
    Cause.BODY_LIMIT: Remedy(
        "Let the proxy take bodies as large as the server does (max_message_size, by default 256 KiB, with STOMP "
        "about 3 MiB).",
        nginx=("client_max_body_size <mebibytes>m;",),
        haproxy=("# remove 'http-request deny' that matches req.body_size or hdr(Content-Length)",),
    ),
    Cause.MESSAGE_LIMIT: Remedy(
        "The server itself takes no more.",
        sockbridge=("max_message_size=1024 * 1024  # or what you need",),
    ),
    Cause.IDLE_CUT: Remedy(
        "Let the proxy wait well longer than the server's heartbeats take (25 s by default), or send these more "
        "often: at less than half of the time after which it cuts.",
        nginx=("proxy_read_timeout <seconds>s;", "proxy_send_timeout <seconds>s;"),
        haproxy=("# defaults:", "timeout client <seconds>s", "timeout server <seconds>s", "timeout tunnel <seconds>s"),
        sockbridge=("heartbeat_delay=<heartbeat>  # where the proxy cannot be changed",),
    ),
    Cause.NO_HEARTBEATS: Remedy(
        "Without heartbeats proxies cut quiet connections, and nobody notices a client that vanished. If the server's "
        "are switched on, something holds them back.",
        sockbridge=("heartbeat_delay=25  # the default; 0 switches them off",),
    ),
    Cause.SESSION_CLOSED: Remedy(
        "It is the server that ended the session. At once: it may be full, or want to know who asks. Later: it may be "
        "what the application does with clients that say nothing, or (--echo) with what it is sent: its log says more."
    ),
    Cause.ECHO_WRONG: Remedy(
        "Messages were lost, changed or came in another order. Run with one --transports at a time, and look at the "
        "server's log."
    ),
}
"""One for each cause; ``tests/doctor`` checks that none is missing."""


REFUSALS: Final = {
    401: "401 wants a login: pass --header 'Authorization: ...'; if the rest passes without, let this pass, too.",
    403: "403 where the rest passes is mostly a rule of the proxy, or of a firewall, about a path or a method.",
    404: "404 where the rest passes is mostly a location that does not lead to the server.",
    405: "405 where the rest passes is mostly a rule of the proxy about methods.",
    502: "502 says that the server is not there, or not for this path.",
    503: "503 says that the server is not there, or full.",
    504: "504 says that the server did not answer the proxy in time.",
}
"""What a status adds to the remedy against ``Cause.REFUSED``."""


def fitted(cause: Cause, findings: Sequence[Finding], url: str) -> Remedy:
    """The remedy against ``cause``, with the prefix of ``url`` and what was measured in its lines."""
    remedy = REMEDIES[cause]
    prefix = urlsplit(url).path.rstrip("/")
    silences = [float(one.figures["silence_seconds"]) for one in findings if "silence_seconds" in one.figures]
    sizes = [int(one.figures["size_bytes"]) for one in findings if "size_bytes" in one.figures]
    origins = [str(one.figures["origin"]) for one in findings if "origin" in one.figures]
    shortest = min(silences, default=10.0)
    words = {
        "<pattern>": re.escape(prefix),
        "<field>": str(prefix.count("/") + 2),
        "<origin>": next(iter(origins), "https://app.example.org"),
        "<mebibytes>": str(max(4, math.ceil(max(sizes, default=0) / (1024 * 1024)))),
        "<seconds>": str(max(60, 2 * math.ceil(max(silences, default=0.0)))),
        "<heartbeat>": f"{math.floor(0.4 * shortest)}" if shortest >= 2.5 else f"{0.4 * shortest:.1g}",
    }

    def fill(lines: tuple[str, ...]) -> tuple[str, ...]:
        for word, value in words.items():
            lines = tuple(line.replace(word, value) for line in lines)
        return lines

    statuses = {one.figures.get("status") for one in findings} if cause is Cause.REFUSED else ()
    text = " ".join([remedy.text, *(more for status, more in REFUSALS.items() if status in statuses)])
    return Remedy(text, fill(remedy.nginx), fill(remedy.haproxy), fill(remedy.sockbridge))
