"""Field types that several shapes share: what both databases can hold, nothing wider."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def plain_zero(value: float) -> float:
    """The number itself, minus zero as zero: SQLite drops the sign and PostgreSQL keeps it."""
    return value + 0.0


def no_truth_value(value: Any) -> Any:
    """The value as it is.

    Raises:
        ValueError: it is true or false, which pydantic would take for 1 and 0.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Int64 = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
FiniteFloat = Annotated[
    float, BeforeValidator(no_truth_value), Field(allow_inf_nan=False), AfterValidator(plain_zero)
]
PathId = Annotated[int, Path(ge=INT64_MIN, le=INT64_MAX)]
QueryId = Annotated[int | None, Query(ge=INT64_MIN, le=INT64_MAX)]


class Answer(BaseModel):
    """Base of answer shapes: read from ORM rows."""

    model_config = ConfigDict(from_attributes=True)


def changed_members(body: BaseModel) -> dict[str, Any]:
    """The members that the client sent, with their values."""
    return body.model_dump(exclude_unset=True)
