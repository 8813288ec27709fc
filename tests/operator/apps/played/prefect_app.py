"""Prefect's server through its client: `install URL`, `write URL N`, `read URL`, `serve URL`."""

import asyncio
import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta

url = sys.argv[2]
os.environ |= {
    "PREFECT_API_DATABASE_CONNECTION_URL": url,
    "PREFECT_HOME": tempfile.mkdtemp(),
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
}

from played import play  # noqa: E402
from prefect.client.orchestration import PrefectClient  # noqa: E402
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, LogCreate, VariableCreate  # noqa: E402
from prefect.client.schemas.schedules import CronSchedule  # noqa: E402
from prefect.flows import Flow  # noqa: E402
from prefect.server.api.server import create_app  # noqa: E402
from prefect.server.database import configurations, dependencies, orm_models, query_components  # noqa: E402
from prefect.states import Completed, Failed, Running, Scheduled  # noqa: E402
from prefect.tasks import Task  # noqa: E402

if other := os.environ.get(
    "ST_SHADOW_DATABASE_URL"
):  # a module that is imported before Prefect's server starts
    from sqlalchemy.ext.asyncio import AsyncSession

    from st_migrate import install

    routed = install(AsyncSession, sqlite=url, postgres=other)
    configurations.AsyncSession = routed
    PARTS = {
        "sqlite": {
            "database_config": configurations.AioSqliteConfiguration(connection_url=url),
            "query_components": query_components.AioSqliteQueryComponents(),
            "orm": orm_models.AioSqliteORMConfiguration(),
        },
        "postgresql": {
            "database_config": configurations.AsyncPostgresConfiguration(connection_url=other),
            "query_components": query_components.AsyncPostgresQueryComponents(),
            "orm": orm_models.AsyncPostgresORMConfiguration(),
        },
    }

    class Following(dict):
        """Prefect asks this for the SQL of its database each time that it does something."""

        def get(self, name, default=None):
            return PARTS[routed().bind.dialect.name].get(name, default)

    dependencies.MODELS_DEPENDENCIES = Following()

runner = asyncio.Runner()


def start(url: str) -> PrefectClient:
    client = PrefectClient(create_app(ephemeral=True))
    runner.run(client.__aenter__())
    return client


async def write_some(client: PrefectClient, number: int) -> None:
    def work() -> None: ...

    flow, task = Flow(work, name="played"), Task(work, name="step")
    flow_id = await client.create_flow(flow)
    before = len(await client.read_flow_runs())
    deployment = await client.create_deployment(
        flow_id, f"d{before}", schedules=[], tags=["x", "é"], parameters={"n": 1.5, "none": None}
    )
    await client.create_deployment_schedules(deployment, [(CronSchedule(cron="0 5 * * *"), True)])
    await client.create_variable(VariableCreate(name=f"v{before}", value={"a": [1, 2.5, None, "🙂"]}))
    await client.create_global_concurrency_limit(
        GlobalConcurrencyLimitCreate(name=f"limit{before}", limit=3, slot_decay_per_second=0.1)
    )
    for n in range(before, before + number):
        run = await client.create_flow_run(
            flow, parameters={"n": n, "big": 2**53 + n}, tags=[f"t{n % 3}"], state=Scheduled()
        )
        await client.set_flow_run_state(run.id, Running(), force=True)
        step = await client.create_task_run(task, run.id, dynamic_key=str(n), state=Running())
        await client.set_task_run_state(step.id, Completed(data={"x": n / 3}), force=True)
        end = Failed(message="é" * n) if n % 4 == 0 else Completed()
        await client.set_flow_run_state(run.id, end, force=True)
        at = datetime.now(UTC) + timedelta(microseconds=n)
        await client.create_logs(
            [LogCreate(name="l", level=20, message=f"line {n}", timestamp=at, flow_run_id=run.id)]
        )
        if n % 5 == 4:
            await client.delete_flow_run(run.id)


async def read_all(client: PrefectClient) -> str:
    runs = await client.read_flow_runs()
    found = {
        "flows": await client.read_flows(),
        "runs": runs,
        "states": [await client.read_flow_run_states(run.id) for run in sorted(runs, key=lambda run: run.id)],
        "tasks": await client.read_task_runs(),
        "deployments": await client.read_deployments(),
        "variables": await client.read_variables(),
        "limits": await client.read_global_concurrency_limits(),
        "logs": await client.read_logs(),
    }
    return json.dumps({name: sorted(map(_told, some)) for name, some in found.items()})


def _told(one) -> str:
    if isinstance(one, list):
        return str(sorted(map(_told, one)))
    passing = {"estimated_run_time", "estimated_start_time_delta", "status", "last_polled", "active_slots"}
    return one.model_dump_json(exclude=passing)


def write(client: PrefectClient, number: int) -> None:
    runner.run(write_some(client, number))


def read(client: PrefectClient) -> str:
    return runner.run(read_all(client))


# Services of the server that have not begun yet cannot be stopped, and their threads outlive the interpreter.
play(start, write, read, stop=lambda client: os._exit(0))
