"""What the operator wants run, or be told, at named moments of a move: a command of theirs, and one webhook.

    gates -> before-fence -> attempt -> after-promote | on-abort | on-unknown

A command that fails before the fence stops the switch, and nobody has waited. After that moment nothing that a
command or the webhook does changes what the switch did: a failure is one line. Whoever ran `before-fence` runs one
of the three others, so that what a command began can be ended.

A command is a list of words, and no shell reads it. The facts are in its environment, so no value is ever
part of a command. It has a time limit, after which its whole process group is killed. It is given none of our
settings: they hold passwords. What it prints goes through a pipe, and only its end is kept: no disk fills up
with it.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import shlex
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from app.db.common.errors import ConfigurationError, Refused
from app.db.common.settings import ShimSettings
from app.db.sides.phase import actor

SAID = 300  # characters of a command's last line that are repeated
_KEPT = 4 * SAID  # bytes of what it printed
_LOOK_S = 0.05  # between two looks whether it has ended
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
        self._held_back: list[Callable[[], None]] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told of anything."""
        return bool(self._commands) or self._webhook is not None

    def before(self, moment: Moment, facts: Facts) -> None:
        """Run the command of a moment that may say no.

        Raises:
            Refused: it failed, or did not end in time.
        """
        if why := self._both(moment, facts):
            raise Refused(f"the command of {moment} {why}", hint="nobody has waited; mend it and repeat")

    def tell(self, moment: Moment, then: Callable[[], None] = lambda: None, /, **facts: object) -> None:
        """Run the command of a moment and call the webhook; what goes wrong is reported. Raises nothing.

        Args:
            then: called when that has been done.
        """
        if self._held_back is not None:
            self._held_back.append(lambda: self.tell(moment, then, **facts))
            return
        if why := self._both(moment, facts):
            self._report(f"the command of {moment} {why}")
        then()

    def tell_later(self, moment: Moment, /, **facts: object) -> None:
        """Tell in a thread; while this process tells of an earlier moment, only report this one. Raises nothing."""
        if not self.wanted:
            return
        if not _telling.acquire(blocking=False):
            self._report(f"nobody was told of {moment}: an earlier one is being told")
            return

        def told() -> None:
            try:
                self.tell(moment, **facts)
            finally:
                _telling.release()

        threading.Thread(target=told, name="st-moment", daemon=True).start()

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Tell at the end of the block what happened in it: the block holds up somebody, and a receiver may be slow."""
        self._held_back = []
        try:
            yield
        finally:
            held, self._held_back = self._held_back, None
            for tell in held:
                tell()

    def _both(self, moment: Moment, facts: Facts) -> str | None:
        """Call the webhook while the command runs. Returns why the command failed."""
        told_by = time.monotonic() + self._limit_s
        answered = self._call(moment, facts)
        try:
            return self._run(moment, facts)
        finally:
            answered(told_by)

    def _run(self, moment: Moment, facts: Facts) -> str | None:
        """Run a moment's command. Returns why it failed."""
        words = self._commands.get(moment)
        if words is None:
            return None
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(moment, facts),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"cannot be started: {error}"
        try:
            said = _heard(process, time.monotonic() + self._limit_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if said is None:
            return f"did not end within {self._limit_s:g} s"
        return None if process.returncode == 0 else f"{_ended(process.returncode)}{_last_line(said)}"

    def _call(self, moment: Moment, facts: Facts) -> Callable[[float], None]:
        """Begin to call the webhook. Returns a function that waits for its answer until a moment."""
        if self._webhook is None:
            return lambda until: None
        webhook, failed = self._webhook, list[str]()
        # A thread, because the time limit of a socket is for each answer, not for all of them together.
        caller = threading.Thread(
            target=_send,
            args=(webhook, json.dumps(_told(moment, facts)).encode(), self._limit_s, failed),
            name="st-webhook",
            daemon=True,
        )
        caller.start()

        def answered(until: float) -> None:
            caller.join(max(0.0, until - time.monotonic()))
            if caller.is_alive() or failed:
                why = failed[0] if failed else f"no answer within {self._limit_s:g} s"
                self._report(f"the webhook at {webhook.hostname} was not told of {moment}: {why}")

        return answered


_telling = threading.Lock()


def is_telling() -> bool:
    """Whether this process tells of a moment in a thread."""
    return _telling.locked()


def tell_in_background(settings: ShimSettings, report: Report, moment: Moment, **facts: object) -> None:
    """Tell of a moment without waiting, see `Moments.tell_later`. Raises nothing."""
    try:
        Moments(settings, report).tell_later(moment, **facts)
    except ConfigurationError as error:
        report(str(error))


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


def _heard(process: subprocess.Popen[bytes], until: float) -> bytes | None:
    """The end of what a process printed before it ended. None if it did not end in time.

    Whoever still holds the pipe then is not waited for.
    """
    assert process.stdout is not None
    pipe, said, running, closed = process.stdout.fileno(), b"", True, False
    os.set_blocking(pipe, False)
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while running:
        if (left := until - time.monotonic()) <= 0:
            return None
        if closed:
            with suppress(subprocess.TimeoutExpired):
                process.wait(left)
        else:
            poller.poll(1000 * min(_LOOK_S, left))
        running = process.poll() is None
        more = _read(pipe)
        closed = more == b""
        said = (said + (more or b""))[-_KEPT:]
    return said


def _read(pipe: int) -> bytes | None:
    """What a pipe holds, empty at its end. None while it holds nothing."""
    try:
        return os.read(pipe, 1 << 20)
    except BlockingIOError:
        return None


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _last_line(said: bytes) -> str:
    """The last line that a command said, as a part of a sentence."""
    text = said.decode(errors="replace").strip()
    line = text.splitlines()[-1].strip()[:SAID] if text else ""
    return f": {line}" if line else ""
