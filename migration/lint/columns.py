"""What the files of a call declare: tables with their columns, so that a statement's names have a kind.

Models count before revisions, because a revision tells only what a column was at its time. A statement
is read with the columns of the tables that it names. A name that stands for different kinds there has
no kind, and no rule speaks of that name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from migration.lint.source import Source, terminal

_MAKERS = frozenset(("Column", "mapped_column"))
_KINDS = {
    "bool": ("Boolean", "BOOLEAN", "bool"),
    "int": ("Integer", "BigInteger", "SmallInteger", "INTEGER", "BIGINT", "SMALLINT", "int"),
    "float": ("Float", "Double", "REAL", "FLOAT", "DOUBLE", "DOUBLE_PRECISION", "float"),
    "numeric": ("Numeric", "NUMERIC", "DECIMAL", "Decimal"),
    "text": ("String", "Text", "Unicode", "UnicodeText", "VARCHAR", "CHAR", "TEXT", "Enum", "str"),
    "time": ("DateTime", "TIMESTAMP", "DATETIME", "UTCDateTime", "datetime"),
    "date": ("Date", "DATE", "date"),
    "json": ("JSON", "JSONB", "dict", "list"),
    "blob": ("LargeBinary", "BLOB", "bytes"),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}


@dataclass(frozen=True)
class Column:
    """A declared column. `kind` is a word of the table above, or empty where it is not known."""

    kind: str = ""
    nullable: bool = False
    unique: bool = False


Columns = Mapping[str, Column]


@dataclass
class Names:
    """The columns of all files, by table; keys are in lower case.

    `models` leads from a class to its table.
    """

    tables: dict[str, dict[str, Column]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def among(self, words: Iterable[str]) -> Columns:
        """The columns of those tables that some words name, of all tables if they name none."""
        wanted = set(words) & self.tables.keys()
        return _merged([self.tables[name] for name in sorted(wanted or self.tables.keys())])

    def of_model(self, name: str) -> Columns:
        """The columns of a class. Empty if it is not known."""
        return self.tables.get(self.models.get(name, ""), {})

    def booleans(self) -> frozenset[str]:
        """Names that are Boolean columns in all tables that have them."""
        return frozenset(name for name, column in self.among(()).items() if column.kind == "bool")


def _merged(tables: list[dict[str, Column]]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for columns in tables:
        for name, column in columns.items():
            before = found.get(name, column)
            found[name] = Column(
                before.kind if before.kind == column.kind else "",
                before.nullable and column.nullable,
                before.unique and column.unique,
            )
    return found


def gather(sources: Iterable[Source]) -> Names:
    """The columns that the files declare."""
    aliases: dict[str, Column] = {}
    classes: dict[str, ast.ClassDef] = {}
    trees = [source.tree for source in sources]
    for tree in trees:
        aliases.update(_aliases(tree))
        classes.update({node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)})
    names = Names()
    for name, node in classes.items():
        columns = _inherited(node, classes, aliases)
        if columns:
            names.models[name] = _table_name(node) or name.lower()
            names.tables[names.models[name]] = columns
    modelled = frozenset(names.tables)
    for tree in trees:
        for table, column, made in _in_calls(tree):
            if table not in modelled:
                names.tables.setdefault(table, {}).setdefault(column, made)
    return names


def _aliases(tree: ast.Module) -> Iterator[tuple[str, Column]]:
    """`Id = Annotated[int, mapped_column(primary_key=True)]`: a type that stands for a column."""
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Subscript(value=what, slice=ast.Tuple(elts=[first, *rest])),
            ) if terminal(what) == "Annotated":
                call = next((r for r in rest if isinstance(r, ast.Call) and terminal(r) in _MAKERS), None)
                yield name, _column(call, first, {})


def _table_name(node: ast.ClassDef) -> str:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=str(name))):
                return name.lower()
    return ""


def _inherited(
    node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], aliases: Mapping[str, Column], depth: int = 0
) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for base in node.bases:
        parent = classes.get(terminal(base))
        if parent is not None and depth < 5:
            columns |= _inherited(parent, classes, aliases, depth + 1)
    for statement in node.body:
        match statement:
            case ast.AnnAssign(
                target=ast.Name(id=name), annotation=ast.Subscript() as annotation, value=value
            ):
                if terminal(annotation.value) == "Mapped" and terminal(value or annotation) != "relationship":
                    call = value if isinstance(value, ast.Call) else None
                    columns[_spelt(call, name)] = _column(call, annotation.slice, aliases)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.Call() as call):
                if terminal(call) in _MAKERS:
                    columns[_spelt(call, name)] = _column(call, annotation, aliases)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                if terminal(call) in _MAKERS:
                    columns[_spelt(call, name)] = _column(call, None, aliases)
    return columns


def _spelt(call: ast.Call | None, name: str) -> str:
    """The column's own name, where it differs from the attribute's."""
    match call:
        case ast.Call(args=[ast.Constant(value=str(given)), *_]):
            return given.lower()
    return name.lower()


def _in_calls(tree: ast.Module) -> Iterator[tuple[str, str, Column]]:
    """Table, column name and column of create_table(), add_column(), Table() and lone columns."""
    owned: set[ast.Call] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or terminal(node) not in ("create_table", "add_column", "Table"):
            continue
        match node.args:
            case [ast.Constant(value=str(table)), *rest]:
                for item in rest:
                    if isinstance(item, ast.Call) and terminal(item) in ("Column", "column"):
                        owned.add(item)
                        yield table.lower(), _spelt(item, ""), _column(item, None, {})
    for node in ast.walk(tree):
        lone = isinstance(node, ast.Call) and terminal(node) in ("Column", "column") and node not in owned
        if isinstance(node, ast.Call) and lone and (name := _spelt(node, "")):
            yield "", name, replace(_column(node, None, {}), nullable=False)


def _column(call: ast.Call | None, annotation: ast.expr | None, aliases: Mapping[str, Column]) -> Column:
    """What a call and an annotation together say of a column."""
    given = {k.arg: getattr(k.value, "value", None) for k in call.keywords} if call else {}
    types = [kind for a in (call.args if call else ()) if (kind := _KIND_OF.get(terminal(a), ""))]
    said, optional = _annotated(annotation)
    alias = aliases.get(said, Column())
    key = given.get("primary_key") is True
    nullable = given.get("nullable", optional if annotation is not None else True)
    return Column(
        (types or [alias.kind or _KIND_OF.get(said, "")])[0],
        bool(nullable) and not key,
        key or given.get("unique") is True or alias.unique,
    )


def _annotated(annotation: ast.expr | None) -> tuple[str, bool]:
    """The type's name in an annotation, and whether it allows None."""
    match annotation:
        case ast.Subscript(value=outer, slice=inner) if terminal(outer) in ("Mapped", "Optional"):
            name, optional = _annotated(inner)
            return name, optional or terminal(outer) == "Optional"
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _annotated(left)[0], True
        case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=right):
            return _annotated(right)[0], True
        case ast.Subscript(value=outer):
            return terminal(outer), False
        case ast.expr():
            return terminal(annotation), False
    return "", False
