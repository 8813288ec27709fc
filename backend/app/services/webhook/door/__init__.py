"""The door: deliveries wait in line, and one writer per process stores all that wait in one transaction.

| module | what it does |
|---|---|
| `waiting` | one delivery on its way to its answer, with the deadline by which it must have one |
| `line` | the bounded line in front of the writer: who is let in, who is told at once to come again |
| `pulse` | how late the event loop is, and so how long a delivery has waited unseen |
| `group` | one transaction for a group: look up, decide, insert, commit; each delivery's own outcome |
| `writer` | the thread that takes groups from the line, and what follows when a transaction fails |
| `outside` | broker calls, in threads and with a deadline, outside of any transaction |
| `queued` | the work of one job of the queue of orders, with ST_WEBHOOK_DISPATCH=queue |
| `metrics` | what an operator sees of it |

`WRITER` is the writer of this process. While it commits a group, the next one gathers; it never waits for one.
"""
