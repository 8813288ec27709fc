"""Two backfill processes share the ranges: what one holds the other leaves alone, and both contribute."""

from __future__ import annotations

from pathlib import Path

from app.db.common.failpoints import Failpoint
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair, wait_until


def ranges(pair: TestPair) -> dict[str, bool]:
    """Whether each range of the copy is done."""
    return dict(pair.pg.execute("SELECT tbl || ' ' || n, done FROM st_copy_range").fetchall())


def test_two_processes_share_the_ranges(
    copying: TestPair,
    zygote: Zygote,
    tmp_path: Path,
) -> None:
    go_on = tmp_path / "go_on.now"
    first = zygote.start("backfill", copying, 100, failpoints=f"{Failpoint.COPY_BEFORE_COMMIT}=wait:{go_on}")
    wait_until(go_on.with_suffix(".reached").exists)
    assert zygote.run("backfill", copying, 100) == 0
    left = [name for name, done in ranges(copying).items() if not done]
    assert len(left) == 1, "the second took everything but the range that the first holds"
    assert copying.applier.stores.postgres.read_control().phase == "copying"
    go_on.touch()
    assert first.wait() == 0
    assert all(ranges(copying).values())
    assert copying.applier.stores.postgres.read_control().phase == "replicating"
    copying.assert_same()
