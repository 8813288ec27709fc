"""docs/security.md is true: each sentence of what holds names tests here, and each of them exists."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.backend.secure.conftest import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
HERE = "tests/backend/secure"
START, LOG_IN, ANSWERS = (f"{HERE}/test_{name}.py" for name in ("start", "log_in", "answers"))
SLOW, DOORS = (f"{HERE}/test_{name}.py" for name in ("slow_bodies", "shut_doors"))
HOOK = "tests/backend/api/webhook"
CALLS = "tests/operator/cli/test_bad_input.py"
ROLES = "tests/operator/deploy/test_roles.py"
IN_TIME = "tests/core/outage/test_answers_in_time.py"
LISTENER = "tests/backend/roles/test_listener_door.py"
FILES = "tests/documents/test_settings_files.py"

# The beginning of a sentence, long enough to be its only one: the tests that try it.
SENTENCES: dict[str, tuple[str, ...]] = {
    "Outside of development (`ST_ENVIRONMENT` is": (
        f"{START}::test_a_deployment_does_not_start_without_secrets",
        f"{START}::test_one_missing_secret_is_enough",
    ),
    "That start ends with one line": (f"{START}::test_a_deployment_does_not_start_without_secrets",),
    "Outside of development `admin`, `change-me`": (f"{START}::test_one_missing_secret_is_enough",),
    "In development missing secrets": (
        f"{START}::test_development_generates_what_is_missing_once",
        f"{START}::test_two_processes_agree_on_one_file",
    ),
    "The log names that file": (f"{START}::test_development_generates_what_is_missing_once",),
    "The schema's revisions give": (f"{LOG_IN}::test_the_password_of_the_revisions_logs_nobody_in",),
    "Nobody can register": (f"{LOG_IN}::test_nobody_can_register_unless_the_setting_says_so",),
    "A route behind the gate": (
        f"{LOG_IN}::test_the_gate_asks_for_the_role",
        f"{DOORS}::test_every_other_route_needs_an_administrator_or_a_log_in",
    ),
    "With `ST_ANY_SESSION_IS_ADMIN=true`": (
        f"{LOG_IN}::test_the_former_rule_is_a_setting",
        f"{START}::test_a_start_says_what_its_settings_open",
    ),
    "A log-in takes as long": (f"{LOG_IN}::test_an_unknown_name_takes_as_many_rounds_as_a_known_one",),
    "After `ST_LOGIN_ATTEMPTS_PER_MINUTE`": (
        f"{LOG_IN}::test_wrong_passwords_are_limited_for_a_name_and_an_address",
        f"{LOG_IN}::test_many_attempts_at_once_do_not_slip_through",
    ),
    "Six times as many": (f"{LOG_IN}::test_an_address_and_a_name_have_limits_of_their_own",),
    "Wrong passwords of HTTP Basic": (f"{LOG_IN}::test_basic_and_a_change_of_password_count_too",),
    "The memory of these counts": (f"{LOG_IN}::test_the_counts_are_bounded_and_the_attackers_own_are_kept",),
    "A body that is not complete": (
        f"{SLOW}::test_a_body_that_does_not_arrive_is_answered_and_let_go",
        f"{SLOW}::test_a_body_that_drips_is_not_waited_for_longer",
    ),
    "A connection that brings no request": (
        f"{LISTENER}::test_a_sender_that_brings_no_request_is_let_go",
        f"{LISTENER}::test_a_head_without_an_end_fills_no_memory",
    ),
    "No text takes much longer": (
        "tests/backend/roles/test_every_way_in.py::test_answers_and_rows_are_the_same",
    ),
    "The session cookie": (f"{ANSWERS}::test_the_session_cookie_is_for_this_site_and_no_script",),
    "No answer repeats a password": (f"{ANSWERS}::test_a_refusal_does_not_repeat_the_secret",),
    "No log line and no metric": (f"{LOG_IN}::test_no_attempt_leaves_its_password_in_a_log",),
    "Every answer to a call": (
        f"{ANSWERS}::test_every_answer_has_the_headers",
        f"{ANSWERS}::test_refused_requests_have_the_headers_too",
    ),
    "Outside of development no answer": (f"{ANSWERS}::test_only_development_shows_a_stack_trace",),
    "`PYTEST_CURRENT_TEST`": (f"{START}::test_a_variable_of_a_test_run_opens_nothing_in_a_deployment",),
    "`make env` writes a `.env`": (f"{START}::test_make_env_writes_secrets_once",),
    "`compose.yaml` hands": (f"{START}::test_compose_hands_every_secret_over_as_a_file",),
    "A secret may be a file": (f"{START}::test_a_secret_may_be_a_file",),
}
# The threat in the table's first column: the tests of its cell "what holds".
CELLS: dict[str, tuple[str, ...]] = {
    "passwords in logs, errors, status, metrics": (
        f"{CALLS}::test_every_form_of_a_password_is_taken_out",
        f"{CALLS}::test_a_wrong_password_and_a_missing_database",
    ),
    "passwords in the list of processes": (f"{DOORS}::test_a_started_worker_gets_its_urls_through_a_pipe",),
    "passwords on disk": (f"{START}::test_make_env_writes_secrets_once",),
    "reading traffic to PostgreSQL": (
        "tests/core/session/test_database_urls.py::test_postgres_url_is_understood",
        "tests/core/session/test_database_urls.py::test_libpq_takes_what_is_translated",
    ),
    "forged webhooks": (
        f"{DOORS}::test_secrets_are_compared_in_constant_time",
        f"{HOOK}/test_http_webhook_delivery.py::test_the_secret_is_neither_stored_nor_logged",
        f"{HOOK}/test_http_webhook_delivery.py::test_an_undecodable_stored_secret_lets_nobody_in",
        f"{ANSWERS}::test_a_blank_stored_webhook_secret_does_not_open_the_webhook",
    ),
    "flooding": (
        f"{SLOW}::test_many_slow_bodies_do_not_keep_others_from_being_served",
        f"{HOOK}/test_http_bad_input.py::test_everything_else",
        f"{HOOK}/test_http_bad_input.py::test_a_body_without_declared_length_is_limited_too",
        f"{IN_TIME}::test_a_fence_beyond_its_limit_is_503_with_and_without_the_line",
        f"{IN_TIME}::test_no_connection_left_is_a_refusal_in_time",
    ),
    "calling administrative routes": (f"{DOORS}::test_every_other_route_needs_an_administrator_or_a_log_in",),
    "stack traces to callers": (f"{ANSWERS}::test_only_development_shows_a_stack_trace",),
    "SQL injection through names": (
        "tests/core/copy/test_hostile_names.py::test_every_printable_character_goes_the_whole_way",
    ),
    "SQL injection through `SECURITY DEFINER`": (
        f"{ROLES}::test_functions_with_the_owners_rights_have_a_fixed_path_and_take_no_text",
    ),
    "going around the fence": (
        "tests/core/capture/test_fence.py::test_postgres_refuses",
        "tests/core/capture/test_fence.py::test_sqlite_refuses",
        f"{ROLES}::test_the_application_meets_the_fence_and_not_a_missing_privilege",
    ),
    "bringing an old side back to life": (
        "tests/operator/cli/test_ending.py::test_complete_on_postgres_leaves_sqlite_fenced_for_good",
        "tests/operator/cli/test_ending.py::test_a_migration_cannot_lift_the_fence_of_a_retired_file",
    ),
    "a row's content in quarantine": (
        f"{ROLES}::test_quarantine_is_for_owner_and_verifier_only",
        "tests/core/capture/test_hazards.py::test_a_value_that_has_no_place_waits_in_quarantine",
    ),
    "stored broker secrets": ("tests/backend/api/rest/test_http_vectors.py::test_known_secret_forms",),
    "the console": (
        "tests/operator/console/test_guard.py::test_the_token_opens_once_and_the_cookie_is_for_the_browser_alone",
        "tests/operator/console/test_guard.py::test_another_host_and_another_origin_are_refused",
        "tests/operator/console/test_guard.py::test_every_answer_forbids_foreign_content",
        "tests/operator/console/test_guard.py::test_without_the_option_the_page_does_nothing",
    ),
    "commands at named moments": (
        "tests/operator/cli/answers/test_hooks.py::test_values_reach_a_command_as_values",
        "tests/operator/cli/answers/test_hooks.py::test_a_command_ends_in_time_with_all_that_it_started",
    ),
    "a tampered dependency": (f"{DOORS}::test_every_pin_has_a_hash_and_is_installed_with_it",),
}


def sentences() -> list[str]:
    section = TEXT.split("## What the backend holds by default")[1].split("What this does not hold:")[0]
    return [line.removeprefix("- ") for line in section.splitlines() if line.startswith("- ")]


def threats() -> list[str]:
    rows = TEXT.split("## What an attacker could want")[1].split("\n## ")[0].splitlines()
    cells = [row.strip("|").split("|")[0].strip() for row in rows if row.startswith("| ")]
    return cells[1:]


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("sentence", sentences(), ids=lambda text: text[:40])
def test_a_sentence_has_its_tests(sentence: str) -> None:
    assert re.fullmatch(r"[^.]*(\.\w[^.]*)*\.", sentence), "one sentence for each point"
    assert len([begin for begin in SENTENCES if sentence.startswith(begin)]) == 1


@pytest.mark.parametrize("threat", threats())
def test_a_threat_has_its_tests(threat: str) -> None:
    assert threat in CELLS


def test_no_entry_is_about_a_sentence_that_is_gone() -> None:
    assert [begin for begin in SENTENCES if not any(one.startswith(begin) for one in sentences())] == []
    assert set(CELLS) == set(threats())


@pytest.mark.parametrize("test", sorted({test for tests in (SENTENCES | CELLS).values() for test in tests}))
def test_the_named_test_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", text_of(file), re.MULTILINE)


def test_what_is_said_below_the_table() -> None:
    assert "The image runs without root, compose publishes ports on 127.0.0.1 only." in TEXT
    assert re.search(r"^USER (?!root)\w+$", text_of("Dockerfile"), re.MULTILINE)
    assert "def test_nothing_is_open_to_the_network_by_default" in text_of(FILES)
