"""MLflow through its client: `install URL`, `write URL N`, `read URL`, `serve URL`."""

import json
import os
import time

from mlflow import MlflowClient, entities
from mlflow.store.db import utils
from played import play
from sqlalchemy import event

if os.environ.get("ST_SHADOW_DATABASE_URL"):  # a module that is imported before MLflow's stores
    from st_migrate import install

    managed, makers = utils._get_managed_session_maker, []

    def as_mlflow_reads(engine):
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA case_sensitive_like = true"))

    def follow(maker, kind):
        makers.append(install(maker, on_engine=as_mlflow_reads))
        return managed(maker, "postgresql")  # no session sends pragmas; they belong to the connection now

    utils._get_managed_session_maker = follow
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    for store in (Tracking, Registry):  # they choose their SQL by these two
        store.engine = property(
            lambda self: makers[-1]().bind if makers else self._engine,
            lambda self, engine: setattr(self, "_engine", engine),
        )
        store.db_type = property(lambda self: self.engine.dialect.name, lambda self, kind: None)


def start(url: str) -> MlflowClient:
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    client.search_experiments()
    client.search_registered_models()
    return client


def write(client: MlflowClient, number: int) -> None:
    known = client.get_experiment_by_name("played")
    experiment = known.experiment_id if known else client.create_experiment("played", tags={"why": "é"})
    before = len(client.search_runs([experiment]))
    for n in range(before, before + number):
        run = client.create_run(experiment, run_name=f"run {n}", tags={"n": str(n)})
        now = int(time.time() * 1000)
        values = [n / 3, float("nan"), float("inf"), -1e-300]
        metrics = [
            entities.Metric(f"m{k}", value, now, step) for k, value in enumerate(values) for step in (0, 1)
        ]
        params = [entities.Param("long", "x" * (10 * n)), entities.Param("empty", "")]
        client.log_batch(run.info.run_id, metrics, params, [entities.RunTag("emoji", "🙂")])
        client.set_terminated(run.info.run_id, "FAILED" if n % 5 == 0 else "FINISHED")
        if n % 5 == 1:
            client.delete_run(run.info.run_id)
    name = f"model {before}"
    client.create_registered_model(name, tags={"a": "b"}, description="a model")
    version = client.create_model_version(name, "/nowhere", run_id=run.info.run_id)
    client.set_registered_model_alias(name, "best", version.version)
    if before:
        client.delete_registered_model(client.search_registered_models()[0].name)


def read(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("played").experiment_id
    runs = client.search_runs(
        [experiment], run_view_type=entities.ViewType.ALL, order_by=["attributes.run_id"]
    )
    history = [
        [(m.step, repr(m.value), m.timestamp) for m in client.get_metric_history(run.info.run_id, f"m{k}")]
        for run in runs
        for k in range(4)
    ]
    found = client.search_runs([experiment], "tags.n LIKE '%2' and metrics.m0 >= 0 and params.empty = ''")
    models = [(m.name, m.aliases, m.tags, m.creation_timestamp) for m in client.search_registered_models()]
    versions = [(v.name, v.version, v.run_id, v.current_stage) for v in client.search_model_versions()]
    told = [(str(r.info), sorted(r.data.params.items()), sorted(r.data.tags.items())) for r in runs]
    return json.dumps([told, history, sorted(r.info.run_id for r in found), models, versions])


play(start, write, read)
