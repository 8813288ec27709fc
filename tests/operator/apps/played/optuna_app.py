"""Optuna through its own API: `install URL`, `write URL N`, `read URL`."""

import json
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
what, url = sys.argv[1:3]
storage = optuna.storages.RDBStorage(url)


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -10, 10)
    trial.set_user_attr("note", {"kind": trial.suggest_categorical("kind", ["a", "b"])})
    trial.report(x, 1)
    return x * x


if what == "install":
    sys.exit(0)
study = optuna.create_study(storage=storage, study_name="played", load_if_exists=True)
if what == "write":
    study.optimize(objective, n_trials=int(sys.argv[3]))
trials = study.get_trials()
print(
    json.dumps(
        [[t.number, t.params, t.value, t.user_attrs, t.state.name, str(t.datetime_start)] for t in trials]
    )
)
