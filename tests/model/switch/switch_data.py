"""Who moves data in the switch model: the application's writers and the background applier."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.switch.switch_state import POSTGRES, SQLITE, Rules, State, other, primary

Steps = Iterator[tuple[str, State]]


# -- application writers ----------------------------------------------------------------------------


def writers(rules: Rules, state: State) -> Steps:
    """Route by SQLite's control row, pass the fence inside the database, commit, be acknowledged."""
    for n, at in enumerate(state.writers):
        if n and at == state.writers[n - 1]:
            continue
        if at == "idle":
            yield f"route to {primary(state.s_epoch)}", _writer(state, n, primary(state.s_epoch))
        elif at == SQLITE and not state.s_lock:
            if state.s_writable or not rules.fence_check:
                yield from _written(state, n, SQLITE)
            else:
                yield "hold", _writer(state, n, "idle")
        elif at == POSTGRES:
            if state.p_writable or not rules.fence_check:
                yield "st_admit", _writer(state, n, "admitted")
            else:
                yield "hold", _writer(state, n, "idle")
        elif at == "admitted":
            yield from _written(state, n, POSTGRES)
            yield "writer lost before commit", _writer(state, n, "done")


def _written(state: State, n: int, side: str) -> Steps:
    bit = (state.s_log | state.p_log) + 1  # the next free bit: writes are numbered as they commit
    if side == SQLITE:
        after = state._replace(s_row=state.s_row | bit, s_log=state.s_log | bit)
    else:
        after = state._replace(p_row=state.p_row | bit, p_log=state.p_log | bit)
    if side != primary(state.p_epoch):
        after = after._replace(wrong=f"P2: {side} took a write at epoch {state.p_epoch}")
    after = _writer(after, n, "done")
    yield f"commit on {side}", after._replace(acked=after.acked | bit)
    yield f"commit on {side}, acknowledgement lost", after


def _writer(state: State, n: int, at: str) -> State:
    others = state.writers[:n] + state.writers[n + 1 :]
    return state._replace(writers=tuple(sorted((*others, at))))


# -- the background applier -------------------------------------------------------------------------


def applier(rules: Rules, state: State) -> Steps:
    """apply.locked, apply.read, apply.after_commit; with the wrong order read first, lock then."""
    at, row, log = state.applier
    if not at:
        shadow = other(primary(state.s_epoch))
        if not rules.lock_before_read:
            row, log = primary_data(state, shadow)
            yield "apply reads before it locks", state._replace(applier=(f"{shadow} early", row, log))
        elif not locked(state, shadow) and is_shadow(state, shadow):
            yield "apply.locked", lock(state, shadow, "apply")._replace(applier=(shadow, 0, 0))
    elif at.endswith("early"):
        shadow = at.removesuffix(" early")
        if locked(state, shadow):
            return
        if is_shadow(state, shadow) and state.s_epoch == state.p_epoch:
            yield (
                "apply locks after it has read",
                lock(state, shadow, "apply")._replace(applier=(f"{shadow} read", row, log)),
            )
        else:
            yield "apply stands", state._replace(applier=("", 0, 0))
    elif not at.endswith("read"):
        yield from _apply_reads(rules, state, at)
        yield "apply killed", lock(state, at, "")._replace(applier=("", 0, 0))
    else:
        shadow = at.removesuffix(" read")
        done = lock(state, shadow, "")._replace(applier=("", 0, 0))
        yield "apply.after_commit", applied(done, shadow, row, log)
        yield "apply killed", done


def _apply_reads(rules: Rules, state: State, shadow: str) -> Steps:
    row, log = primary_data(state, shadow)
    seen = state.p_seen if shadow == POSTGRES else state.s_seen
    if (rules.same_epoch and state.s_epoch != state.p_epoch) or not log & ~seen:
        yield "apply stands", lock(state, shadow, "")._replace(applier=("", 0, 0))
    else:
        yield "apply.read", state._replace(applier=(f"{shadow} read", row, log))


def small_rounds(rules: Rules, state: State) -> Steps:
    """A small round reads SQLite first; PostgreSQL takes it only if it still is where the reading began."""
    if state.small is None:
        if is_shadow(state, POSTGRES) and state.s_epoch == state.p_epoch and state.s_log & ~state.p_seen:
            read = (state.s_row, state.s_log, state.p_seen, state.p_epoch)
            yield "a small round reads", state._replace(small=read)
        return
    row, log, seen, epoch = state.small
    done = state._replace(small=None)
    if locked(state, POSTGRES):
        return
    if not rules.compare_standpoint or (state.p_seen == seen and state.p_epoch == epoch):
        yield "a small round is carried", applied(done, POSTGRES, row, log)
    else:
        yield "a small round came too late", done


def is_shadow(state: State, shadow: str) -> bool:
    """What a round asks the shadow's own control row once it holds the lock."""
    return primary(state.p_epoch if shadow == POSTGRES else state.s_epoch) != shadow


def primary_data(state: State, shadow: str) -> tuple[int, int]:
    """Row and log of the side that such a shadow is applied from."""
    return (state.s_row, state.s_log) if shadow == POSTGRES else (state.p_row, state.p_log)


def applied(state: State, shadow: str, row: int, log: int) -> State:
    """The shadow brought to a row, its watermark to a log, in one transaction."""
    if shadow == POSTGRES:
        return state._replace(p_row=row, p_seen=log)
    return state._replace(s_row=row, s_seen=log)


def locked(state: State, side: str) -> bool:
    """Whether somebody holds the lock under which a shadow on this side is written."""
    return bool(state.p_lock if side == POSTGRES else state.s_lock)


def lock(state: State, side: str, holder: str) -> State:
    """That lock given to a holder, or to nobody."""
    return state._replace(p_lock=holder) if side == POSTGRES else state._replace(s_lock=holder)
