"""Applications of PyPI, each in an environment of its own, and two empty databases for one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.operator.anyapp.conftest import Stranger
from tests.operator.anyapp.conftest import stranger as stranger

PLAYED = Path(__file__).resolve().parent / "played"
ROOT = Path(__file__).resolve().parents[3]
DRIVER = "psycopg[binary]==3.3.9"


@dataclass(frozen=True)
class Recipe:
    """What an application needs.

    `discards`: its installer makes rows with keys or times of their own, so PostgreSQL's are given up for SQLite's.
    `guards`: what is done about its own triggers: on SQLite, on PostgreSQL, on SQLite once that is prepared.
    """

    packages: tuple[str, ...]
    sqlite: str = "sqlite"
    postgres: str = "postgresql+psycopg"
    in_process: bool = False
    discards: bool = False
    guards: tuple[str, str, str] | None = None

    def begin(self, sides: Stranger) -> None:
        """From the first look at the two databases until they are a pair."""
        if not (self.discards or self.guards):
            assert sides.done("preflight", "--schema", "existing").outcome == "clean"
            return
        blocks = {"postgres.not_empty"} | ({"schema.trigger"} if self.guards else set())
        assert {code for code, _ in sides.run("preflight", "--schema", "existing").blocking()} == blocks
        if self.guards:
            _script(sides.path, self.guards[0])
            sides.pg(self.guards[1])
        discard = ("--discard-target", "--yes", sides.url.rpartition("/")[2])
        sides.done("prepare", "--schema", "existing", *discard)
        if self.guards:
            _script(sides.path, self.guards[2])


def _script(path: Path, statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


_SECRETS = "prevent_secrets_aad_mutation"
MLFLOWS_TRIGGER = (
    f"DROP TRIGGER {_SECRETS};",
    f"""DROP TRIGGER {_SECRETS} ON secrets;
        CREATE TRIGGER {_SECRETS} BEFORE UPDATE ON secrets FOR EACH ROW
        WHEN (coalesce(current_setting('st.applying', true), '') = '') EXECUTE FUNCTION {_SECRETS}()""",
    f"""CREATE TRIGGER {_SECRETS} BEFORE UPDATE ON secrets FOR EACH ROW WHEN (SELECT applying FROM st_control) = 0
        AND (OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name)
        BEGIN SELECT RAISE(ABORT, 'secret_id and secret_name are immutable (used as AAD in encryption)'); END;""",
)


RECIPES = {
    "optuna": Recipe(("optuna==5.0.0", DRIVER)),
    "django": Recipe(("django==5.2.19", DRIVER), postgres="postgresql"),
    "jupyterhub": Recipe(("jupyterhub==6.1.1", DRIVER), in_process=True),
    "mlflow": Recipe(("mlflow==3.17.2", DRIVER), in_process=True, discards=True, guards=MLFLOWS_TRIGGER),
    "trac": Recipe(
        ("trac==1.6", "setuptools==80.9.0", "psycopg2-binary==2.9.13"), postgres="postgres", discards=True
    ),
    "prefect": Recipe(
        ("prefect==3.9.1", "asyncpg==0.32.0", DRIVER), "sqlite+aiosqlite", "postgresql+asyncpg", True, True
    ),
}


@dataclass(frozen=True)
class Application:
    """One application and the two databases it may be told to use."""

    python: Path
    script: Path
    sqlite: str
    postgres: str
    place: Path

    def command(self, what: str, url: str, *more: str) -> list[str]:
        return [str(self.python), str(self.script), what, url, *more]

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of ours is on the path, and no application reports its use."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ST_"))}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        return kept | quiet | more

    def call(self, what: str, url: str, *more: str) -> str:
        done = subprocess.run(
            self.command(what, url, *more),
            capture_output=True,
            text=True,
            timeout=300,
            env=self.environment(),
            cwd=self.place,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    @contextmanager
    def writing(self, url: str, number: int) -> Iterator[None]:
        """The application writes, in a process of its own, while the body runs."""
        with subprocess.Popen(
            self.command("write", url, str(number)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment(),
            cwd=self.place,
        ) as process:
            yield
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said[-4000:].decode()

    @contextmanager
    def serving(self) -> Iterator[Callable[..., Callable[[], str]]]:
        """One process of the application that follows the pair; what it is told is answered later."""
        said = self.place / "said.txt"
        with (
            said.open("w") as errors,
            subprocess.Popen(
                self.command("serve", self.sqlite),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment(
                    ST_SHADOW_DATABASE_URL=self.postgres, ST_PG_IDLE_TRANSACTION_TIMEOUT_MS="0"
                ),
                cwd=self.place,
            ) as process,
        ):
            assert process.stdin is not None and process.stdout is not None

            def tell(*words: str) -> Callable[[], str]:
                assert process.stdin is not None and process.stdout is not None
                print(*words, file=process.stdin, flush=True)
                return lambda: _checked(process.stdout.readline(), said)  # type: ignore[union-attr]

            yield tell
            process.stdin.close()
            assert process.wait(timeout=120) == 0, said.read_text(encoding="utf-8")[-4000:]


def _checked(line: str, said: Path) -> str:
    assert line, said.read_text(encoding="utf-8")[-6000:]
    return line


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes an application's environment once, with our tool in it; ST_TEST_APPS keeps them. Returns its Python."""
    kept = os.environ.get("ST_TEST_APPS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("apps")
    wheels: list[Path] = []
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

    def make(name: str) -> Path:
        python = folder / name / "bin" / "python"
        if not wheels:
            built = tmp_path_factory.mktemp("wheel")
            _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(ROOT)])
            wheels.extend(built.glob("*.whl"))
        install = [*pip, "--python", str(python), "install"]
        if not python.exists():
            venv.create(folder / name, with_pip=False)
            _run([*install, *RECIPES[name].packages, str(wheels[0])])
        _run([*install, "--no-deps", "--force-reinstall", str(wheels[0])])
        return python

    return make


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def empty(
    tmp_path: Path, pg_url: str, capsys: pytest.CaptureFixture[str], own_stdout: None
) -> Callable[[], Stranger]:
    """Makes the pair; the application installs itself."""
    return lambda: Stranger(tmp_path / "app.db", pg_url, capsys)


@pytest.fixture
def application(
    environments: Callable[[str], Path], tmp_path: Path
) -> Callable[[str, Stranger], Application]:
    def make(name: str, sides: Stranger) -> Application:
        recipe = RECIPES[name]
        url = recipe.postgres + "://" + sides.url.partition("://")[2]
        return Application(
            environments(name),
            PLAYED / f"{name}_app.py",
            f"{recipe.sqlite}:///{sides.path}",
            url,
            tmp_path,
        )

    return make
