"""Locust's entry: choose a profile, watch it in the browser or run it headless.

    locust -f loadtests/run/locustfile.py --host http://127.0.0.1:8000 --load market_open

The profile decides how many users there are at any moment, so the fields for that in the web page have no
effect. Only hosts on this machine are accepted. What was sent and answered goes to the ledger file, from
which `loadtests.judge.oracle` judges.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gevent
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.stage.processes import ADMIN, WEBHOOK_SECRET
from loadtests.traffic.profiles import PROFILES, RESENDS, TRADERS, WEBHOOKS, Profile
from loadtests.traffic.scenarios.shared import make
from loadtests.traffic.scenarios.traders import TraderUser
from loadtests.traffic.scenarios.webhooks import ResendUser, WebhookUser

CLASSES = {WEBHOOKS: WebhookUser, RESENDS: ResendUser, TRADERS: TraderUser}
STOP_S = 20.0
HERE = ("127.0.0.1", "localhost", "::1")


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--load", choices=list(PROFILES), default="steady", env_var="LOAD_PROFILE")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the users of the profile")
    parser.add_argument("--seconds", type=float, default=0, help="end after so many seconds; 0: one cycle")
    parser.add_argument(
        "--origin",
        type=float,
        default=0,
        help="when the cycle begins, in seconds since the epoch; 0: at once",
    )
    parser.add_argument("--prefix", default="", help="prefix of every marker", include_in_web_ui=False)
    parser.add_argument("--senders", default=ADMIN[0], help="user names, comma-separated")
    parser.add_argument("--secret", default=WEBHOOK_SECRET, is_secret=True)
    parser.add_argument("--admin", default=":".join(ADMIN), is_secret=True)
    parser.add_argument("--ledger", default="load-ledger.jsonl", include_in_web_ui=False)
    parser.add_argument("--counts", default="", help="file for counts of requests", include_in_web_ui=False)


@events.init.add_listener
def _end_in_order(environment: Environment, **_: Any) -> None:
    """Locust itself listens to SIGTERM only once a headless run is over; until then it would die of it."""
    if environment.parsed_options and environment.parsed_options.headless:
        gevent.signal_handler(signal.SIGTERM, ProfileShape.end)


@events.test_start.add_listener
def _share(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if urlsplit(environment.host or "").hostname not in HERE:
        raise SystemExit("this load is for a backend on this machine only: --host http://127.0.0.1:PORT")
    shared = make(
        PROFILES[options.load],
        run=options.prefix,
        senders=options.senders.split(","),
        secret=options.secret,
        admin=tuple(options.admin.split(":", 1)),
        ledger=Path(options.ledger),
    )
    for user_class in CLASSES.values():
        user_class.shared = shared
    # A user that is stopped between a request and its entry in the ledger would leave rows nobody knows of.
    environment.stop_timeout = STOP_S


@events.test_stop.add_listener
def _close(environment: Environment, **_: Any) -> None:
    """End the ledger, and write what locust counted: wrong statuses and reads are in no ledger."""
    WebhookUser.shared.ledger.close()
    if environment.parsed_options and environment.parsed_options.counts:
        stats = environment.stats
        errors = [f"{error.occurrences} x {error.name}: {error.error}" for error in stats.errors.values()]
        counts = {"requests": stats.total.num_requests, "failed": stats.total.num_failures, "errors": errors}
        Path(environment.parsed_options.counts).write_text(json.dumps(counts), encoding="utf-8")


class ProfileShape(LoadTestShape):
    """As many users as the profile says at each moment, of the classes and in the shares of its mix."""

    use_common_options = False
    ended = False

    @classmethod
    def end(cls) -> None:
        """Let every user finish what it does, then no more."""
        cls.ended = True

    def tick(self) -> tuple[int, float, list[type[Any]]] | None:
        options = self.runner.environment.parsed_options
        profile = PROFILES[options.load].scaled(options.scale)
        at = time.time() - options.origin if options.origin else self.get_run_time()
        if self.ended or at >= (options.seconds or profile.cycle_s):
            return None
        users = profile.users_at(at) if at >= 0 else 0
        return users, max(10.0, float(profile.peak)), weighted(profile)


def weighted(profile: Profile) -> list[type[Any]]:
    """The user classes of a profile, with the weights of its mix set on them."""
    chosen = []
    for name, weight in profile.mix.items():
        CLASSES[name].weight = weight
        chosen.append(CLASSES[name])
    return chosen
