"""Old rows leave the database for archive files, from which they can come back.

    rules (what is old) + needs (what stays all the same)
        -> batch: read, archive with checksum, then delete exactly what was archived, in one small transaction
        -> run: batch after batch, with pauses that leave the database to the webhook
        -> restore: an archive's rows back in their tables

The order of the steps is the guarantee: a file is on the disk before its rows go, so that no crash loses any.
"""
