"""Statements of the order path: written with SQLAlchemy, compiled once, run by the driver itself.

What SQLAlchemy does for each execution costs ten times what the database needs for a row, and a decision takes a dozen
statements. Values are bound and read by the same column types as elsewhere, and errors are SQLAlchemy's, so that the
transaction around them notices no difference.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, SelectBase, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

Statement = SelectBase | Insert | Update
MOST_KNOWN = 2_000
"""Rows that a statement remembers the reading of."""
_GIVEN = object()
"""Stands for a value that comes with each execution."""
Row = tuple[Any, ...]  # Any, here and below: values of all the columns' types


class Prepared:
    """One statement; its parameters are its `bindparam`s."""

    def __init__(self, statement: Statement, *, meaning: Callable[[Any], Any] | None = None) -> None:
        """`meaning` makes of a row, with the names of its columns, what `rows` gives; it depends on the row alone."""
        self._statement = statement
        self._meaning = meaning
        self._compiled: dict[str, _Compiled] = {}
        """By the name of the dialect: two stores of different kinds may be open in one process."""
        self._record = _record_of(statement)

    def rows(self, connection: Connection, **parameters: Any) -> list[Any]:  # Any: a `Row`, or its meaning
        """All rows of the answer."""
        compiled = self._for(connection)
        cursor = compiled.run(connection, parameters)
        try:
            return compiled.read(cursor, connection.dialect)
        finally:
            cursor.close()

    def records(self, connection: Connection, **parameters: Any) -> list[Any]:  # Any: a tuple whose items have names
        """The same, with the names of the columns."""
        return [self._record._make(row) for row in self.rows(connection, **parameters)]

    def mappings(self, connection: Connection, **parameters: Any) -> list[dict[str, Any]]:
        """The same by the names of the columns."""
        return [dict(zip(self._record._fields, row, strict=True)) for row in self.rows(connection, **parameters)]

    def one_or_none(self, connection: Connection, **parameters: Any) -> Any:
        """The only row, or None."""
        rows = self.rows(connection, **parameters)
        if len(rows) > 1:
            raise LookupError("more than one row, where one was expected")
        return rows[0] if rows else None

    def execute(self, connection: Connection, *several: Mapping[str, Any]) -> None:
        """Run it once for each set of parameters, for what it does."""
        compiled = self._for(connection)
        for parameters in several:
            compiled.run(connection, parameters).close()

    def _for(self, connection: Connection) -> _Compiled:
        name = connection.dialect.name
        found = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = _compiled(self._statement, connection.dialect)
            if self._meaning is not None:
                meaning, record = self._meaning, self._record
                found.meaning = lambda row: meaning(record._make(row))
        return found


def _record_of(statement: Statement) -> Any:  # Any: a class that is made here
    columns = statement.selected_columns if isinstance(statement, SelectBase) else ()
    return namedtuple("Record", [str(column.key) for column in columns], rename=True)


@dataclass(kw_only=True)
class _Compiled:
    """A statement as one driver takes it."""

    sql: str
    binds: tuple[tuple[str, Any, Callable[[Any], Any] | None], ...]
    """Name, constant or `_GIVEN`, and what makes the driver's value of it; in the order of the text."""
    positional: bool
    types: tuple[TypeEngine[Any], ...]
    """Of the answer's columns."""
    readers: tuple[tuple[int, Callable[[Any], Any]], ...] | None = None
    """The columns whose values the driver does not give as they are wanted; known with the first answer."""
    meaning: Callable[[Row], Any] | None = None
    known: dict[Row, Any] = field(default_factory=dict)
    """Rows as the driver gave them → as they are wanted. Each decision reads the day's orders again."""

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> Any:  # Any: a driver's cursor
        driver = connection.connection
        cursor = driver.cursor()
        bound: Any = None
        try:
            values = []
            for name, constant, bind in self.binds:
                value = parameters[name] if constant is _GIVEN else constant
                values.append(value if bind is None else bind(value))
            names = (name for name, _, _ in self.binds)
            bound = values if self.positional else dict(zip(names, values, strict=True))
            cursor.execute(self.sql, bound)
        except Exception as error:
            cursor.close()
            dialect = connection.dialect
            errors = dialect.loaded_dbapi.Error
            gone = isinstance(error, errors) and dialect.is_disconnect(error, driver.driver_connection, cursor)
            raise DBAPIError.instance(
                self.sql, bound, error, errors, connection_invalidated=gone, dialect=dialect
            ) from error
        return cursor

    def read(self, cursor: Any, dialect: Dialect) -> list[Any]:
        if self.readers is None:
            readers = (
                (number, kind.dialect_impl(dialect).result_processor(dialect, cursor.description[number][1]))
                for number, kind in enumerate(self.types)
            )
            self.readers = tuple((number, reader) for number, reader in readers if reader is not None)
        if not self.readers and self.meaning is None:
            return list(map(tuple, cursor.fetchall()))
        found = []
        for row in map(tuple, cursor.fetchall()):
            known = self.known.get(row)
            if known is None:
                values = list(row)
                for column, reader in self.readers:
                    values[column] = reader(values[column])
                known = tuple(values) if self.meaning is None else self.meaning(tuple(values))
                if len(self.known) >= MOST_KNOWN:
                    self.known.clear()
                self.known[row] = known
            found.append(known)
        return found


def _compiled(statement: Statement, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)  # Any: positiontup belongs to compilers of SQL only
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    return _Compiled(
        sql=str(compiled),
        binds=tuple(
            (name, _GIVEN if bind.required else bind.effective_value, _writer(bind.type, dialect))
            for name, bind in ((name, compiled.binds[name]) for name in names)
        ),
        positional=compiled.positional,
        types=tuple(column.type for column in statement.selected_columns) if isinstance(statement, SelectBase) else (),
    )


def _writer(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)
