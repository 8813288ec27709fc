"""The rules about SQL texts: what happens on PostgreSQL, and the remedy."""

from __future__ import annotations

from migration.lint.rule import Rule

SQL_RULES = (
    Rule(
        "boolean-number",
        "error",
        "PostgreSQL does not compare or assign a number to a Boolean",
        "write true or false, which SQLite takes as well; as a parameter, True or False",
    ),
    Rule(
        "sqlite-function",
        "error",
        "the function exists on SQLite only, or takes other arguments there",
        "use one that both have, or compute the value in Python",
    ),
    Rule(
        "double-quoted-text",
        "error",
        "double quotes make a name; only SQLite takes an unknown one for a text",
        "write texts in single quotes",
    ),
    Rule(
        "quoted-name",
        "error",
        "backticks and brackets quote names on SQLite only",
        "quote names in double quotes",
    ),
    Rule(
        "insert-or",
        "error",
        "INSERT OR ..., UPDATE OR ... and REPLACE INTO are SQLite's",
        "write INSERT ... ON CONFLICT, which both have; REPLACE also deletes rows that only share a unique key",
    ),
    Rule("pragma", "error", "PRAGMA is SQLite's", "ask SQLAlchemy's inspector, or leave it to app.db"),
    Rule(
        "autoincrement", "error", "AUTOINCREMENT is SQLite's", "leave it out; a primary key counts by itself"
    ),
    Rule("glob", "error", "GLOB is SQLite's", "use LIKE with ESCAPE, or a regular expression in Python"),
    Rule(
        "like-case",
        "warning",
        "LIKE ignores the case of ASCII letters on SQLite, not on PostgreSQL",
        "write lower(x) LIKE lower(y), or .ilike(), for the same answer on both",
    ),
    Rule(
        "group-by",
        "error",
        "PostgreSQL refuses a selected column that is neither grouped nor aggregated; SQLite picks any row's",
        "group by it, or take min() or max() of it",
    ),
    Rule("rowid", "error", "PostgreSQL has no rowid", "use the primary key"),
    Rule(
        "float-equality",
        "warning",
        "equality with a fraction depends on how the value was computed and stored",
        "compare with a tolerance, or store a scaled integer",
    ),
    Rule("double-equals", "error", "PostgreSQL has no operator ==", "write ="),
    Rule("blob-literal", "error", "X'00' is a string of bits on PostgreSQL", "bind bytes as a parameter"),
    Rule(
        "json-path",
        "error",
        "-> and ->> want a JSON column on PostgreSQL, and a plain key instead of a path",
        "take the value apart in Python, or write ->> 'key' on a JSON column",
    ),
    Rule(
        "collation", "error", "PostgreSQL has no such collation", "write lower(x), or leave it out for BINARY"
    ),
    Rule(
        "limit-form",
        "error",
        "PostgreSQL takes no LIMIT with two numbers and none below zero",
        "write LIMIT n OFFSET m, or leave LIMIT out",
    ),
    Rule(
        "is-values",
        "error",
        "PostgreSQL has IS and NOT NULL only as tests for NULL, true and false",
        "write IS [NOT] DISTINCT FROM, or IS NOT NULL",
    ),
    Rule(
        "sqlite-syntax",
        "error",
        "PostgreSQL does not know this form",
        "write plain BEGIN and WITH RECURSIVE; leave plans and attached files to SQLite's own tools",
    ),
    Rule(
        "sqlite-type",
        "error",
        "PostgreSQL does not know the type",
        "write TIMESTAMP, BYTEA, DOUBLE PRECISION, SMALLINT or VARCHAR, or leave the table to Alembic",
    ),
    Rule(
        "upsert",
        "error",
        "PostgreSQL wants the key of ON CONFLICT DO UPDATE, and which row's column is meant",
        "write ON CONFLICT (key), and table.column or excluded.column",
    ),
    Rule("null-key", "error", "NULL does not stand for the next id on PostgreSQL", "leave the key out"),
    Rule(
        "rounding",
        "error",
        "PostgreSQL rounds no float to n digits, and a float that ends in .5 to the even side",
        "round in Python, or store a Numeric",
    ),
    Rule(
        "cast-integer",
        "warning",
        "1.5 becomes 1 on SQLite and 2 on PostgreSQL, and a text that is no number becomes 0 or an error",
        "convert in Python",
    ),
    Rule(
        "cast-text",
        "warning",
        "PostgreSQL spells 3.0, true and times otherwise",
        "format the value in Python",
    ),
    Rule(
        "cast-type",
        "error",
        "the type means something else on the other database, or nothing",
        "cast to INTEGER, DOUBLE PRECISION, NUMERIC or TEXT, or convert in Python",
    ),
    Rule(
        "date-value",
        "warning",
        "the current time, and date(x) as a result, are texts on SQLite and times on PostgreSQL",
        "bind the time from Python; write CAST(date(x) AS TEXT) for a day",
    ),
    Rule(
        "random",
        "warning",
        "random() is a whole number of 64 bits on SQLite, and between 0 and 1 on PostgreSQL",
        "draw the number in Python",
    ),
    Rule(
        "substr-negative",
        "warning",
        "a negative place counts from the end on SQLite only, and PostgreSQL takes no column for a place",
        "write substr(x, length(x) - n), or CAST(n AS INTEGER)",
    ),
    Rule(
        "like-escape",
        "warning",
        "a backslash in a pattern is an escape on PostgreSQL, and itself on SQLite",
        "add ESCAPE with a character of your choice",
    ),
    Rule(
        "number-as-text",
        "error",
        "PostgreSQL's text functions take no number and no time",
        "cast, or format in Python",
    ),
    Rule(
        "joined-number",
        "warning",
        "|| spells fractions, Booleans and times in another way on PostgreSQL, joins no two numbers, and binds less than +",
        "join the texts in Python",
    ),
    Rule(
        "integer-average",
        "warning",
        "avg() and sum() of whole numbers have another precision on PostgreSQL, where a quotient keeps its fraction",
        "cast to DOUBLE PRECISION inside of avg() and sum()",
    ),
    Rule(
        "division-by-zero",
        "error",
        "a division by zero is NULL on SQLite and an error on PostgreSQL",
        "write x / nullif(y, 0)",
    ),
    Rule("float-remainder", "error", "PostgreSQL has no % for floats", "take the remainder in Python"),
    Rule(
        "integer-overflow",
        "error",
        "PostgreSQL calculates with small whole numbers in 32 bits and refuses a larger result",
        "write the result, or bind it as a parameter",
    ),
    Rule(
        "decimal-fraction",
        "warning",
        "a number that is written with a fraction is a Decimal on PostgreSQL, so that 0.1 + 0.2 = 0.3 there",
        "write CAST(x AS DOUBLE PRECISION), or calculate in Python",
    ),
    Rule(
        "inexact-integer",
        "warning",
        "SQLite keeps the fraction in a column of whole numbers, PostgreSQL rounds it",
        "make the column a Float or Numeric",
    ),
    Rule("boolean-text", "warning", "'true' equals no Boolean on SQLite", "write true or false"),
    Rule(
        "boolean-arithmetic",
        "error",
        "PostgreSQL does not calculate with Booleans and conditions",
        "write CASE WHEN x THEN 1 ELSE 0 END",
    ),
    Rule("number-as-condition", "error", "a number or a text is no condition on PostgreSQL", "write x <> 0"),
    Rule(
        "text-number",
        "error",
        "PostgreSQL does not compare, calculate or mix a text with a number",
        "write the number as a text, or bind a value of the column's type",
    ),
    Rule(
        "time-literal",
        "warning",
        "SQLite compares times as texts, so another spelling is another time",
        "write 'YYYY-MM-DD HH:MM:SS.ffffff', or bind a datetime through SQLAlchemy",
    ),
    Rule(
        "date-arithmetic",
        "error",
        "SQLite takes the year of a time for a number, PostgreSQL refuses",
        "calculate with datetime and timedelta in Python",
    ),
    Rule(
        "alias-scope",
        "error",
        "PostgreSQL knows an alias in GROUP BY and alone in ORDER BY only",
        "repeat the expression",
    ),
    Rule(
        "distinct-order",
        "error",
        "PostgreSQL sorts SELECT DISTINCT only by what is selected",
        "select the expression too, or use GROUP BY",
    ),
    Rule(
        "nulls-order",
        "warning",
        "NULL sorts first on SQLite and last on PostgreSQL, so that the first row is another one",
        "add NULLS FIRST or NULLS LAST: .nulls_first(), .nulls_last()",
    ),
    Rule(
        "tie-break",
        "warning",
        "rows that sort alike, or are not sorted, come in any order on PostgreSQL, so a limit cuts others off",
        "add a unique column, such as the id, to ORDER BY",
    ),
    Rule(
        "union-order",
        "warning",
        "UNION, EXCEPT and INTERSECT sort their rows on SQLite, and not on PostgreSQL",
        "add ORDER BY",
    ),
    Rule(
        "subquery-rows",
        "warning",
        "SQLite takes the first row of a subquery that is a value, PostgreSQL refuses a second row",
        "add WHERE with a key, an aggregate, or ORDER BY with LIMIT 1",
    ),
)
