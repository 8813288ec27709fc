"""Roles of a process: who answers requests, who works on queues, who looks at the clock.

    web        answers requests, and does nothing else
    worker     works on the queue of jobs; any number of them
    scheduler  puts due jobs into the queue, looks for stranded orders, runs retention; one acts at a time
    all        everything in one process, as `uvicorn app.main:app` does

A request leaves its work behind in the database, so it does not matter which process dies.
"""
