"""One worker of procrastinate, in an environment of its own: `python other_queue.py make|fill|work CONNINFO [JOBS]`.

It imports nothing of this project: the bench runs it with the Python of a virtual environment that holds procrastinate.
"""

import sys

import procrastinate  # type: ignore[import-not-found]

app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=sys.argv[2]))


@app.task(name="nothing")
def nothing(order_id: int) -> None:
    """The work of a job: none, as for the queue that it is compared with."""


def main(verb: str, conninfo: str, jobs: int = 0) -> None:
    with app.open():
        if verb == "make":
            app.schema_manager.apply_schema()
        elif verb == "fill":
            nothing.batch_defer(*({"order_id": number} for number in range(jobs)))
    if verb == "work":
        working = app.with_connector(procrastinate.PsycopgConnector(conninfo=conninfo))
        print("ready", flush=True)
        sys.stdin.readline()
        working.run_worker(wait=False, concurrency=1, delete_jobs="never", listen_notify=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
