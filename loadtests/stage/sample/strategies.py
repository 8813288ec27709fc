"""What watches and what runs by itself: rules, screeners, backtests, deployments; and the market they read."""

from __future__ import annotations

from loadtests.stage.sample.surprises import GONE, SEEDED
from loadtests.stage.sample.values import SYMBOLS, WORDS, Place, Row, day, moment

FRAMES = ("1m", "5m", "15m", "30m", "1h")
# The deployment with id 2 is gone, its children are not; id 5 was made last.
DEPLOYMENTS = (1, 3, 4, 5)


def signal_strategy_versions(at: Place) -> Row:
    place = at.number - SEEDED["signal_strategy_versions"]
    return {"strategy_id": 6 + place % 20, "version": 1 + place // 20}


def indicator_rules(at: Place) -> Row:
    return {"strategy_id": 10 + at.number, "trigger_mode": "ONCE", "logic": "AND", "timeframe": "1d",
            "universe": None, "name": f"नियम {at.number}"}  # fmt: skip


def alert_definitions(at: Place) -> Row:
    return {
        "name": f"अलर्ट {at.number} 🛑", "target_kind": at.one_of(("SYMBOL", "HOLDINGS", "GROUP")),
        "trigger_mode": at.one_of(("ONCE", "ONCE_PER_BAR", "EVERY_TIME")), "evaluation_cadence": "1m",
        "action_type": at.one_of(("ALERT_ONLY", "BUY", "SELL")), "condition_dsl": "TODAY_PNL_PCT > -100",
        "throttle_seconds": 60,
    }  # fmt: skip


def custom_indicators(at: Place) -> Row:
    return {"name": f"Ω_{at.number}", "body_dsl": 'SMA(close, 2, "1d")'}


def screener_runs(at: Place) -> Row:
    return {"status": at.one_of(("DONE", "ERROR", "RUNNING")), "evaluation_cadence": "1d"}


def backtest_runs(at: Place) -> Row:
    return {
        "kind": at.one_of(("SIGNAL", "STRATEGY")),
        "status": "COMPLETED",
        "title": f"RSI बाउंस {at.number}",
    }


def strategy_deployments(at: Place) -> Row:
    return {
        "name": f"Rotation ½h {at.number}", "kind": at.one_of(("STRATEGY", "PORTFOLIO_STRATEGY")),
        "execution_target": "PAPER", "target_kind": "SYMBOL", "symbol": at.one_of(SYMBOLS), "product": "CNC",
        "timeframe": at.one_of(FRAMES), "owner_id": 2 + at.number, "enabled": 0, "exchange": "NSE",
    }  # fmt: skip


def strategy_deployment_states(at: Place) -> Row:
    return {"deployment_id": DEPLOYMENTS[at.number], "status": at.one_of(("STOPPED", "PAUSED")),
            "pause_reason": "रुका हुआ", "last_decision_reason": "रुका हुआ"}  # fmt: skip


def strategy_deployment_locks(at: Place) -> Row:
    return {"deployment_id": (*DEPLOYMENTS, GONE["strategy_deployments"][0])[at.number], "locked_by": None}


def strategy_deployment_bar_cursors(at: Place) -> Row:
    return {"deployment_id": DEPLOYMENTS[at.number % 4], "timeframe": FRAMES[at.number // 4],
            "symbol": f"{at.one_of(SYMBOLS)}", "exchange": "NSE"}  # fmt: skip


def strategy_deployment_jobs(at: Place) -> Row:
    return {
        "deployment_id": DEPLOYMENTS[at.number % 4], "status": "DONE", "locked_by": None, "locked_at": None,
        "kind": at.one_of(("BAR_CLOSED", "DAILY_PROXY_CLOSED", "WINDOW")),
        "dedupe_key": f"DEP:{at.number}:BAR_CLOSED",
    }  # fmt: skip


def strategy_deployment_actions(at: Place) -> Row:
    return {"deployment_id": DEPLOYMENTS[at.number % 4], "kind": "EVALUATION", "job_id": at.number + 1}


def strategy_deployment_event_logs(at: Place) -> Row:
    return {"deployment_id": DEPLOYMENTS[at.number % 4], "kind": at.one_of(("EVAL_STARTED", "EVAL_FINISHED"))}


def securities(at: Place) -> Row:
    return {"isin": f"INE{at.number:06}01", "name": f"{at.one_of(WORDS)} LIMITED"}


def listings(at: Place) -> Row:
    return {"symbol": f"PAPER{at.number}", "exchange": at.one_of(("NSE", "BSE"))}


def broker_instruments(at: Place) -> Row:
    return {"listing_id": 1 + at.number % 3283, "broker_name": "zerodha", "exchange": "NSE",
            "instrument_token": str(100_000 + at.number), "broker_symbol": f"PAPER{at.number}"}  # fmt: skip


def market_calendar(at: Place) -> Row:
    return {
        "date": day(90 + at.number // 2), "exchange": at.one_of(("NSE", "BSE")),
        "session_type": at.one_of(("NORMAL", "CLOSED", "SETTLEMENT_ONLY", "HALF_DAY", "SPECIAL")),
    }  # fmt: skip


def risk_covariance_cache(at: Place) -> Row:
    return {"timeframe": "1d", "as_of_ts": moment(0), "cov_json": "[[0.0003332862227551306,2.5]]",
            "corr_json": "[[0.9999999999999999]]", "vol_json": "[0.018256128361597665]"}  # fmt: skip


ROOM = {
    "signal_strategy_versions": signal_strategy_versions, "indicator_rules": indicator_rules,
    "alert_definitions": alert_definitions, "custom_indicators": custom_indicators,
    "screener_runs": screener_runs, "backtest_runs": backtest_runs,
    "strategy_deployments": strategy_deployments, "strategy_deployment_states": strategy_deployment_states,
    "strategy_deployment_locks": strategy_deployment_locks,
    "strategy_deployment_bar_cursors": strategy_deployment_bar_cursors,
    "strategy_deployment_jobs": strategy_deployment_jobs,
    "strategy_deployment_actions": strategy_deployment_actions,
    "strategy_deployment_event_logs": strategy_deployment_event_logs, "securities": securities,
    "listings": listings, "broker_instruments": broker_instruments, "market_calendar": market_calendar,
    "risk_covariance_cache": risk_covariance_cache,
}  # fmt: skip
