"""The switch as guarded atomic actions, named after the code's functions and failpoints.

Every action is one transaction on one side, or one read. PostgreSQL may be lost to anybody at any time:
before a commit (nothing happened), after it (it happened, the caller does not know), or in the middle (the
server is still at it). Deadlines are not trusted: whatever waits for one may happen at any time. A process
may stop for good or wake up late at any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.model.explorer import Model
from tests.model.switch.switch_data import (
    Steps,
    applied,
    applier,
    is_shadow,
    lock,
    locked,
    primary_data,
    small_rounds,
    writers,
)
from tests.model.switch.switch_state import (
    POSTGRES,
    SQLITE,
    Bounds,
    Coordinator,
    Rules,
    State,
    other,
    primary,
    promises,
    started,
)

OFF = Coordinator()


def switch_model(rules: Rules = Rules(), bounds: Bounds = Bounds()) -> Model[State]:  # noqa: B008 - immutable
    """The whole protocol under some rules, within some bounds."""
    return Model(started(bounds), partial(steps, rules, bounds), promises)


def steps(rules: Rules, bounds: Bounds, state: State) -> Steps:
    """Every step that is possible in a state."""
    yield from writers(rules, state)
    yield from applier(rules, state)
    yield from small_rounds(rules, state)
    yield from recoverers(rules, state)
    yield from migrations(rules, bounds, state)
    for n, coordinator in enumerate(state.coordinators):
        if n and coordinator == state.coordinators[n - 1]:
            continue  # the same process under another name
        if coordinator.at:
            yield from coordinating(rules, state, n, coordinator)
        elif state.tokens < bounds.attempts and state.p_epoch <= bounds.switches:
            yield from beginning(state, n)
    yield from in_doubt(state)


# -- one coordinator --------------------------------------------------------------------------------


def beginning(state: State, n: int) -> Steps:
    """`_begin`: the attempt goes on the arbiter's record, if there is none."""
    if state.p_attempt or state.in_doubt or state.migration == POSTGRES:  # which locks the control row
        return
    token = state.tokens + 1
    begun = state._replace(p_attempt=token, tokens=token)
    yield "switch.begun", _goes(begun, n, Coordinator("begun", token, state.p_epoch))
    yield "begin, acknowledgement lost", _goes(begun, n, Coordinator("ending", token, state.p_epoch))


def coordinating(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    """The next step of `Coordinator.move`, every way it can fail, and the process's end."""
    yield f"coordinator killed at {here.at}", _goes(state, n, OFF)
    forward = primary(here.epoch) == SQLITE
    order = _order(rules, forward)
    if here.at in order:
        following = order[order.index(here.at) + 1]
        if here.at != "begun":
            yield "out of time", _goes(state, n, here._replace(at="ending"))
        yield from _STEP[following](rules, state, n, here)
    elif here.at == "resolving":
        yield from _resolve(rules, state, n, here)
    elif here.at == "committed":
        yield "switch.done", _goes(state, n, OFF)
        if not rules.no_abort_after_commit:
            yield "follow fails after the commit", _goes(state, n, here._replace(at="ending"))
    elif here.at == "ending":
        yield from _end_attempt(state, n, here)


def _order(rules: Rules, forward: bool) -> tuple[str, ...]:
    order = ("fenced", "drained") if rules.fence_before_drain else ("drained", "fenced")
    mark = ("committing",) if forward and rules.committing_mark else ()
    checked = ("checked",) if rules.fence_before_drain else ()
    return ("begun", *order, *checked, *mark, "commit")


def _fence(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    fenced, failed = here._replace(at="fenced"), here._replace(at="ending")
    if primary(here.epoch) == SQLITE:
        if state.s_lock:
            return
        if state.s_epoch == here.epoch and not state.s_attempt and state.s_writable:
            up = state._replace(s_writable=False, s_attempt=here.token, s_state="draining")
            yield "switch.fenced", _goes(up, n, fenced)
        else:
            yield "fence refused", _goes(state, n, failed)
        return
    if state.in_doubt or ("admitted" in state.writers and rules.fence_waits):
        yield "fence times out", _goes(state, n, failed)
    elif (state.p_attempt, state.p_epoch) == (here.token, here.epoch) and state.p_writable:
        up = state._replace(p_writable=False)
        yield "switch.fenced", _goes(up, n, fenced)
        yield "fence, acknowledgement lost", _goes(up, n, failed)
    else:
        yield "fence refused", _goes(state, n, failed)


def _drain(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    shadow = other(primary(state.s_epoch))
    if locked(state, shadow):
        return
    if not is_shadow(state, shadow) or (rules.same_epoch and state.s_epoch != state.p_epoch):
        yield "drain stands", _goes(state, n, here._replace(at="ending"))
        return
    row, log = primary_data(state, shadow)
    seen = state.p_seen if shadow == POSTGRES else state.s_seen
    drained = applied(state, shadow, row, log) if log & ~seen else state
    yield "switch.drained", _goes(drained, n, here._replace(at="drained"))


def _check(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    if locked(state, other(primary(state.s_epoch))):
        return
    equal = state.s_row == state.p_row
    yield "switch.checked", _goes(state, n, here._replace(at="checked" if equal else "ending"))


def _mark(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    if state.s_lock:
        return
    if state.s_attempt == here.token:
        marked = state._replace(s_state="committing")
        yield "switch.committing", _goes(marked, n, here._replace(at="committing"))
    else:
        yield "StaleAttempt at the mark", _goes(state, n, OFF)


def _commit(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    if state.p_lock or state.in_doubt:
        return
    asks = here._replace(at="resolving")
    yield "commit, connection lost before", _goes(state, n, asks)
    if state.p_epoch != here.epoch or (rules.token_guard and state.p_attempt != here.token):
        yield "StaleAttempt at the commit", _goes(state, n, OFF)
        return
    record = _recorded(state, here.token)
    yield "switch.committed", _goes(record, n, here._replace(at="committed"))
    yield "commit, acknowledgement lost", _goes(record, n, asks)
    if state.p_attempt == here.token:
        pending = state._replace(in_doubt=here.token, p_lock="in doubt")
        yield "commit, connection lost meanwhile", _goes(pending, n, asks)


def _recorded(state: State, token: int) -> State:
    """The commit record: one transaction on PostgreSQL's control row."""
    after = state._replace(
        p_epoch=state.p_epoch + 1,
        p_writable=primary(state.p_epoch + 1) == POSTGRES,
        p_attempt=0,
        committed=state.committed | 1 << token,
    )
    if state.s_row != state.p_row:
        return after._replace(wrong="the shadow did not equal the primary when it was promoted")
    return after


_STEP = {"fenced": _fence, "drained": _drain, "checked": _check, "committing": _mark, "commit": _commit}


def _resolve(rules: Rules, state: State, n: int, here: Coordinator) -> Steps:
    """The outcome is open: ask the arbiter, behind the lock that a commit still under way holds."""
    yield "resolve gives up", _goes(state, n, OFF)
    if state.in_doubt and rules.resolve_under_lock:
        return
    recorded = bool(state.committed >> here.token & 1)
    moved = recorded if rules.resolve_by_token else state.p_epoch == here.epoch + 1
    yield "resolve", _goes(state, n, here._replace(at="committed" if moved else "ending"))


def _end_attempt(state: State, n: int, here: Coordinator) -> Steps:
    """End it on the arbiter's record and report so; without PostgreSQL `release_alone`, or no report."""
    yield "end_attempt without PostgreSQL", _goes(state, n, OFF)
    if state.in_doubt:
        return
    after = _ended(state) if state.p_attempt == here.token else state
    if state.committed >> here.token & 1:
        after = after._replace(wrong="a committed switch was reported as aborted")
    yield "end_attempt", _goes(after, n, OFF)


def _ended(state: State) -> State:
    return state._replace(p_attempt=0, p_writable=primary(state.p_epoch) == POSTGRES)


def _goes(state: State, n: int, to: Coordinator) -> State:
    others = state.coordinators[:n] + state.coordinators[n + 1 :]
    return state._replace(coordinators=tuple(sorted((*others, to))))


def in_doubt(state: State) -> Steps:
    """The server finishes what a vanished client asked for."""
    if state.in_doubt:
        free = state._replace(in_doubt=0, p_lock="")
        yield "the commit in doubt takes effect", _recorded(free, state.in_doubt)
        yield "the commit in doubt is rolled back", free


# -- a migration of the shadow -----------------------------------------------------------------------


def migrations(rules: Rules, bounds: Bounds, state: State) -> Steps:
    """The migrating transaction on the shadow, with an autocommit block where that is PostgreSQL."""
    shadow = other(primary(state.p_epoch))
    quiet = state.s_epoch == state.p_epoch and not state.p_attempt and not state.in_doubt
    ended = state._replace(migration="", migrated=state.migrated + 1)
    match state.migration:
        case "" if state.migrated < bounds.migrations and quiet and not locked(state, shadow):
            yield (
                "a migration passes the shadow's fence",
                lock(state, shadow, "migration")._replace(migration=shadow),
            )
        case "block":
            yield "migration killed", ended
            if not quiet or shadow == SQLITE:
                yield "the migration finds the sides switched", ended
            elif not state.p_lock:
                yield (
                    "the migration goes on behind the block",
                    lock(state, POSTGRES, "migration")._replace(migration=POSTGRES),
                )
        case side if side:
            free = lock(ended, side, "")
            yield "migration killed", free
            yield "the migration of the shadow commits", free
            if side == POSTGRES:
                block = lock(state, POSTGRES, "")._replace(migration="block")
                if not rules.fence_by_transaction:
                    block = block._replace(p_writable=True)
                yield "an autocommit block", block


# -- anybody who finishes what a dead process left --------------------------------------------------


def recoverers(rules: Rules, state: State) -> Steps:
    """`recover`: end the attempt on the arbiter, follow it, or release SQLite without it."""
    if state.p_attempt and not state.in_doubt and rules.end_before_lowering:
        yield "recover ends the attempt", _ended(state)
    if state.s_attempt and not state.s_lock:
        released = state._replace(s_writable=True, s_attempt=0, s_state="")
        if state.s_state == "draining" or not rules.committing_mark:
            yield "release_alone", released
        elif not rules.end_before_lowering and state.p_attempt == state.s_attempt:
            yield "recover lowers the fence first", released
    yield from _follow(rules, state)


def _follow(rules: Rules, state: State) -> Steps:
    if state.follower is None:
        if (state.s_lock and rules.follow_under_lock) or not _following(
            state, state.p_epoch, state.p_attempt
        ):
            return
        read = state._replace(follower=(state.p_epoch, state.p_attempt))
        yield "follow reads the arbiter", lock(read, SQLITE, "follow") if rules.follow_under_lock else read
        return
    if state.s_lock and not rules.follow_under_lock:
        return
    epoch, attempt = state.follower
    free = state._replace(follower=None, s_lock="")
    yield "follow killed", free
    if _following(state, epoch, attempt):
        yield "follow", _followed(free, epoch)


def _following(state: State, epoch: int, attempt: int) -> bool:
    """Whether SQLite's row has to change to agree with what was read off the arbiter."""
    if state.s_epoch > epoch or (attempt and attempt == state.s_attempt):
        return False
    return (state.s_epoch, state.s_writable, state.s_attempt) != (epoch, primary(epoch) == SQLITE, 0)


def recovered(state: State) -> Iterator[State]:
    """What `recover` makes of a state in which every process has died and PostgreSQL answers.

    Locks went with their holders; a commit in doubt has taken effect or been rolled back.
    """
    settled = [after for _, after in in_doubt(state)] or [state]
    for after in settled:
        after = after._replace(
            s_lock="",
            p_lock="",
            coordinators=(OFF,) * len(state.coordinators),
            applier=("", 0, 0),
            small=None,
            follower=None,
            migration="",
        )
        if after.p_attempt:
            after = _ended(after)
        if _following(after, after.p_epoch, after.p_attempt):
            after = _followed(after, after.p_epoch)
        yield after


def _followed(state: State, epoch: int) -> State:
    return state._replace(s_epoch=epoch, s_writable=primary(epoch) == SQLITE, s_attempt=0, s_state="")
