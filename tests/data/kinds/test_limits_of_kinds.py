"""docs/limits.md has one row for each kind of the code, with its types and whether it can be a key."""

from __future__ import annotations

from pathlib import Path

from app.db.rows.kinds import NO_KEY_TYPES, POSTGRES_KINDS, Kind, can_be_key

PAGE = Path(__file__).resolve().parents[3] / "docs" / "limits.md"
SHORT = {
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "varchar": "character varying",
    "char": "character",
}


def rows() -> dict[str, tuple[str, str]]:
    """Kind to the cells of its types and of its use as a key."""
    section = PAGE.read_text(encoding="utf-8").partition("## Kinds\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    assert cells[0][:2] == ["kind", "types on PostgreSQL"]
    return {row[0]: (row[1], row[3]) for row in cells[2:]}


def test_the_page_has_a_row_for_each_kind() -> None:
    assert list(rows()) == [kind.value for kind in Kind]


def test_each_row_names_every_type_of_its_kind() -> None:
    for name, (types, _) in rows().items():
        named = {SHORT.get(word, word) for word in types.split("`")[1::2]}
        assert named == {cast for cast, kind in POSTGRES_KINDS.items() if kind is Kind(name)}, name


def test_each_row_says_whether_the_kind_can_be_a_key() -> None:
    for name, (types, key) in rows().items():
        assert key.startswith("yes") == can_be_key(Kind(name), ""), name
        for cast in NO_KEY_TYPES:
            assert (f"`{cast}`" in key) == (f"`{cast}`" in types), name
