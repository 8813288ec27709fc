"""What PostgreSQL can do beyond SQLite, as a branch of revisions of its own, once PostgreSQL is alone.

    guard   when the branch may run, and why not otherwise
    wanted  the constraints and indexes, as data
    report  what stands in the database against each of them
    aside   rows that stand against one, set aside and brought back
    indexes what nothing needs: indexes that repeat another one, or that no query has used
    online  statements that keep nobody waiting, each of which can be repeated
    branch  the revisions of `backend/alembic/native`, up and down
    placement  where each table would lie on several servers; nothing reads it but tests

Nothing here is needed: PostgreSQL without the branch stays fully supported.
"""
