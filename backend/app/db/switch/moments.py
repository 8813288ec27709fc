"""What the operator wants run, or be told, at named moments of a move: a command of theirs, and one webhook.

    gates -> before-fence -> attempt -> after-promote | on-abort | on-unknown

A command that fails before the fence stops the switch, and nobody has waited. After that moment nothing that a
command or the webhook does changes what the switch did: a failure is one line. Whoever ran `before-fence` runs one
of the three others, so that what a command began can be ended.

A command is a list of words: no shell reads it, and the facts are in its environment, so no value is ever part of a
command. It has a time limit, after which its whole process group is killed. It is given none of our settings: they
hold passwords.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from app.db.common.errors import ConfigurationError, Refused
from app.db.common.settings import ShimSettings
from app.db.sides.phase import actor

SAID = 300  # characters of a command's last line that are repeated
_OURS = "ST_"
_FACT = f"{_OURS}FACT"  # how the variables begin that a command is given
LOOPBACK = ("127.0.0.1", "::1", "localhost")
Facts = Mapping[str, object]
Report = Callable[[str], None]


class Moment(StrEnum):
    """The moments, each the name of its setting: `before-fence` is ST_HOOK_BEFORE_FENCE."""

    BEFORE_FENCE = "before-fence"  # every gate agrees, no writer has waited; a failure stops the switch
    AFTER_PROMOTE = "after-promote"  # the new side is primary
    ON_ABORT = "on-abort"  # the switch did not take place, the old primary takes writes
    ON_UNKNOWN = "on-unknown"  # the switch ended with an error; `status` says which side is primary
    ON_MISMATCH = "on-mismatch"  # rows differ, found by a verify or by the switch
    ON_DEGRADED = "on-degraded"  # a backend's commits no longer wait for the shadow
    AFTER_COPY = "after-copy"  # every row is copied
    AFTER_VERIFY = "after-verify"  # every row is equal
    AFTER_COMPLETE = "after-complete"  # the move has ended


class Moments:
    """Runs commands and calls the webhook.

    Args:
        settings: the commands, the URL and the time limit.
        report: called with one line for each thing that did not work.

    Raises:
        ConfigurationError: a command cannot be split into words, or the URL may not be used.
    """

    def __init__(self, settings: ShimSettings | None, report: Report = lambda line: None) -> None:
        self._report = report
        self._limit_s = settings.hook_timeout_s if settings else 0.0
        self._commands = {} if settings is None else _commands(settings)
        self._webhook = None if settings is None else _webhook(settings.hook_webhook_url)

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told of anything."""
        return bool(self._commands) or self._webhook is not None

    def before(self, moment: Moment, facts: Facts) -> None:
        """Run the command of a moment that may say no.

        Raises:
            Refused: it failed, or did not end in time.
        """
        self._post(moment, facts)
        if why := self._run(moment, facts):
            raise Refused(f"the command of {moment} {why}", hint="nobody has waited; mend it and repeat")

    def tell(self, moment: Moment, **facts: object) -> None:
        """Run the command of a moment and call the webhook; what goes wrong is reported. Raises nothing."""
        self._post(moment, facts)
        if why := self._run(moment, facts):
            self._report(f"the command of {moment} {why}")

    def _run(self, moment: Moment, facts: Facts) -> str | None:
        """Run a moment's command; returns why it failed."""
        words = self._commands.get(moment)
        if words is None:
            return None
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env=_environment(moment, facts),
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                return f"cannot be started: {error}"
            try:
                code = process.wait(self._limit_s)
            except subprocess.TimeoutExpired:
                return f"did not end within {self._limit_s:g} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
                process.wait()
            return None if code == 0 else f"ended with {code}{_last_line(said.fileno())}"

    def _post(self, moment: Moment, facts: Facts) -> None:
        if self._webhook is None:
            return
        failed: list[str] = []
        # A thread, because the time limit of a socket is for each answer, not for all of them together.
        caller = threading.Thread(
            target=_send,
            args=(self._webhook, json.dumps(_told(moment, facts)).encode(), self._limit_s, failed),
            name="st-webhook",
            daemon=True,
        )
        caller.start()
        caller.join(self._limit_s)
        if caller.is_alive() or failed:
            why = failed[0] if failed else f"no answer within {self._limit_s:g} s"
            self._report(f"the webhook at {self._webhook.hostname} was not told of {moment}: {why}")


_telling = threading.Lock()


def tell_in_background(settings: ShimSettings, report: Report, moment: Moment, **facts: object) -> None:
    """Tell of a moment without waiting; not while an earlier one is being told by this process. Raises nothing."""
    try:
        moments = Moments(settings, report)
    except ConfigurationError as error:
        report(str(error))
        return
    if not moments.wanted or not _telling.acquire(blocking=False):
        return

    def told() -> None:
        try:
            moments.tell(moment, **facts)
        finally:
            _telling.release()

    threading.Thread(target=told, name="st-moment", daemon=True).start()


def _commands(settings: ShimSettings) -> dict[Moment, list[str]]:
    found = {}
    for moment in Moment:
        name = f"hook_{moment.replace('-', '_')}"
        try:
            words = shlex.split(getattr(settings, name))
        except ValueError as error:
            raise ConfigurationError(
                f"ST_{name.upper()} cannot be read as a command: {error}",
                hint="quote it as for a shell; none runs it",
            ) from None
        if words:
            found[moment] = words
    return found


def _webhook(text: str) -> SplitResult | None:
    """The URL to be told, which is a secret: no message repeats more than its host.

    Raises:
        ConfigurationError: it is none, or would send the facts in plain text beyond this host.
    """
    if not text:
        return None
    try:
        url = urlsplit(text)
        sound = bool(url.hostname) and (url.port is None or url.port > 0) and text.isprintable()
    except ValueError:
        sound = False
    if not sound or url.scheme not in ("https", "http"):
        raise ConfigurationError("ST_HOOK_WEBHOOK_URL is no URL", hint="give https://host/path")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ConfigurationError("ST_HOOK_WEBHOOK_URL is not encrypted", hint="give it as https://")
    return url


def _send(url: SplitResult, body: bytes, limit_s: float, failed: list[str]) -> None:
    """POST a body; a redirect is not followed, because it could lead anywhere."""
    assert url.hostname is not None
    try:
        connection = (
            http.client.HTTPSConnection(
                url.hostname, url.port, timeout=limit_s, context=ssl.create_default_context()
            )
            if url.scheme == "https"
            else http.client.HTTPConnection(url.hostname, url.port, timeout=limit_s)
        )
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:
            failed.append(f"it answered {status}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The text of some of these holds the path, which is a secret here.
        failed.append(type(error).__name__)


def _told(moment: Moment, facts: Facts) -> dict[str, object]:
    return {"moment": str(moment), "at": time.time(), "actor": actor()} | {
        name: value if isinstance(value, int | float | bool) else str(value)
        for name, value in facts.items()
        if value is not None
    }


def _environment(moment: Moment, facts: Facts) -> dict[str, str]:
    """Our environment without our settings, and the facts: each as ST_FACT_NAME, all as ST_FACTS in JSON."""
    told = _told(moment, facts)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    ours = {f"{_FACT}_{name.upper()}": str(value).replace("\0", "") for name, value in told.items()}
    return {**kept, **ours, f"{_FACT}S": json.dumps(told)}


def _last_line(descriptor: int) -> str:
    """The last line that a command said, as a part of a sentence."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, 4 * SAID, max(0, size - 4 * SAID)).decode(errors="replace").strip()
    line = text.splitlines()[-1].strip()[:SAID] if text else ""
    return f": {line}" if line else ""
