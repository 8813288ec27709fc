"""Tables and columns (`tables`), their declared types (`declared`), how both sides' catalogs are read (`queries`, `reading`).

`indexes`: unique keys of SQLite. `keys`: by which columns rows are named. `virtual`: which tables of the file are parts of a virtual one. `unfit`: tables of PostgreSQL that cannot be moved.
"""

from app.db.rows.catalog.declared import affinity, limit_of, normal_declared
from app.db.rows.catalog.indexes import TOKENS, bracketed, not_computable, parts_and_condition, sqlite_uniques
from app.db.rows.catalog.keys import KEY_INDEX, folds, stand_in
from app.db.rows.catalog.queries import ENUM_LABELS, POSTGRES_COLUMNS
from app.db.rows.catalog.reading import (
    enum_labels,
    keep_spellings,
    names_left_out,
    postgres_columns,
    postgres_columns_left_out,
    postgres_keys,
    postgres_left_out,
    postgres_partial_uniques,
    read_schema,
    spellings,
    sqlite_columns,
    sqlite_columns_left_out,
    sqlite_keys,
    sqlite_left_out,
)
from app.db.rows.catalog.tables import (
    BOOKKEEPING,
    EXCLUDED_TABLE,
    FRAMEWORK_TABLES,
    NARROW,
    VERSION_TABLE,
    Column,
    Row,
    Schema,
    Table,
    Unique,
    literal,
    quote,
    quote_with_parameters,
    takes_part,
)
from app.db.rows.catalog.unfit import UNFIT, Unfit, unfit_tables
from app.db.rows.catalog.virtual import virtual_tables

__all__ = [
    "BOOKKEEPING",
    "ENUM_LABELS",
    "EXCLUDED_TABLE",
    "FRAMEWORK_TABLES",
    "KEY_INDEX",
    "NARROW",
    "POSTGRES_COLUMNS",
    "TOKENS",
    "UNFIT",
    "VERSION_TABLE",
    "Column",
    "Row",
    "Schema",
    "Table",
    "Unfit",
    "Unique",
    "affinity",
    "bracketed",
    "enum_labels",
    "folds",
    "keep_spellings",
    "limit_of",
    "literal",
    "names_left_out",
    "normal_declared",
    "not_computable",
    "parts_and_condition",
    "postgres_columns",
    "postgres_columns_left_out",
    "postgres_keys",
    "postgres_left_out",
    "postgres_partial_uniques",
    "quote",
    "quote_with_parameters",
    "read_schema",
    "spellings",
    "sqlite_columns",
    "sqlite_columns_left_out",
    "sqlite_keys",
    "sqlite_left_out",
    "sqlite_uniques",
    "stand_in",
    "takes_part",
    "unfit_tables",
    "virtual_tables",
]
