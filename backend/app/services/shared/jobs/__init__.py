"""Jobs in the database, claimed by workers: each is done once, whatever becomes of the worker.

    PENDING --claim--> RUNNING --finish--> DONE
                       RUNNING --fail----> PENDING with a growing pause, or FAILED after the last attempt
                       RUNNING --lease over, the worker is dead--> PENDING
                       FAILED  --a person repeats it-----------> PENDING

| module | what it does |
|---|---|
| `queue` | which table is a queue, and in which order its jobs are taken |
| `claim` | the moves above; each names the state it expects |
| `wake` | tells waiting workers of new jobs, in the process and through PostgreSQL |
| `crew` | the threads of a process that work on one queue |
| `dead` | what a person sees of a queue, and how a dead letter is repeated |
| `metrics` | the same in Prometheus' terms |
"""
