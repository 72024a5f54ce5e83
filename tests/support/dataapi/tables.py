"""Commands of tables: plain CQL behind them, with the client's timestamps and no LWTs."""

from __future__ import annotations

import base64
from typing import Any

from cassandra.cluster import Session
from cassandra.metadata import IndexMetadata

from support.dataapi.errors import ApiError
from support.dataapi.filters import described, filter_of, is_clustering, target_of
from support.dataapi.types import cql_of, describe, from_json, is_supported, to_json
from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.cassandra.rows.search import vector_similarity
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.rows import SourceTable

PAGE, MAX_FOUND = 20, 1000
Command = dict[str, Any]


class Tables:
    """The tables of one keyspace."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self.session, self.keyspace = session, keyspace

    def all(self) -> dict[str, SourceTable]:
        return {n: t for n, t in read_tables(self.session, self.keyspace).items() if not (t.is_collection or t.base)}

    def listed(self) -> list[dict[str, Any]]:
        return [{"name": name, "definition": self._definition(table)} for name, table in self.all().items()]

    def _definition(self, table: SourceTable) -> dict[str, Any]:
        key = {
            "partitionBy": [c.name for c in table.partition_key],
            "partitionSort": {c.name: -1 if c.descending else 1 for c in table.primary_key if c.kind == "clustering"},
        }
        return {"columns": {c.name: describe(c.type) for c in table.columns}, "primaryKey": key}

    def create(self, command: Command) -> dict[str, Any]:
        definition, key = command["definition"], command["definition"]["primaryKey"]
        partition, clustering = (
            ([key], []) if isinstance(key, str) else (key["partitionBy"], list(key.get("partitionSort") or {}))
        )
        columns = ", ".join(f"{quoted(n)} {cql_of(d)}" for n, d in definition["columns"].items())
        names = ", ".join([f"({', '.join(map(quoted, partition))})", *map(quoted, clustering)])
        created = f"CREATE TABLE {self._name(command['name'])} ({columns}, PRIMARY KEY ({names}))"
        self.session.execute(created)
        return {"status": {"ok": 1}}

    def drop(self, command: Command) -> dict[str, Any]:
        self.session.execute(f"DROP TABLE IF EXISTS {self._name(command['name'])}")
        return {"status": {"ok": 1}}

    def run(self, table: SourceTable, name: str, command: Command) -> dict[str, Any]:
        commands = {
            "insertOne": self._insert_one, "insertMany": self._insert_many, "find": self._find, "findOne": self._find_one,
            "deleteOne": self._delete_one, "updateOne": self._update_one, "createVectorIndex": self._index,
            "listIndexes": self._list_indexes,
        }  # fmt: skip
        if name not in commands:
            raise ApiError("UNSUPPORTED_TABLE_COMMAND", f"The command {name} is not supported by tables.")
        return commands[name](table, command)

    def _index(self, table: SourceTable, command: Command) -> dict[str, Any]:
        definition = command["definition"]
        metric = (definition.get("options") or {}).get("metric", "cosine")
        self.session.execute(
            f"CREATE CUSTOM INDEX IF NOT EXISTS {quoted(command['name'])} ON {self._name(table.name)} "
            f"({quoted(definition['column'])}) USING 'StorageAttachedIndex' WITH OPTIONS = {{'similarity_function': '{metric}'}}"
        )
        return {"status": {"ok": 1}}

    def _list_indexes(self, table: SourceTable, command: Command) -> dict[str, Any]:
        return {"status": {"indexes": [described(index, table) for index in self._indexes(table)]}}

    def _indexes(self, table: SourceTable) -> list[IndexMetadata]:
        return list(self.session.cluster.metadata.keyspaces[self.keyspace].tables[table.name].indexes.values())

    def _insert_one(self, table: SourceTable, command: Command) -> dict[str, Any]:
        return self._inserted(table, [command["document"]])

    def _insert_many(self, table: SourceTable, command: Command) -> dict[str, Any]:
        if len(command["documents"]) > 100:
            raise ApiError("COMMAND_FIELD_VALUE_INVALID", "amount of documents to insert is over the max limit (100)")
        return self._inserted(table, command["documents"])

    def _inserted(self, table: SourceTable, documents: list[Any]) -> dict[str, Any]:
        bound = [self._bound(table, d) for d in documents]
        for text, values in bound:
            self.session.execute(self.session.prepare(text), values)
        keys = [[d[c.name] for c in table.primary_key] for d in documents]
        schema = {c.name: describe(c.type) for c in table.primary_key}
        return {"status": {"insertedIds": keys, "primaryKeySchema": schema}}

    def _bound(self, table: SourceTable, document: Any) -> tuple[str, list[Any]]:
        self._check_columns(table, document, "DOCUMENT")
        missing = [c.name for c in table.primary_key if document.get(c.name) is None]
        if missing:
            raise ApiError("MISSING_PRIMARY_KEY_COLUMNS", f"not included primary key columns: {missing}", "DOCUMENT")
        kinds = {c.name: c.type for c in table.columns}
        values = [from_json(n, kinds[n], v) for n, v in document.items()]
        names, marks = ", ".join(map(quoted, document)), ", ".join("?" * len(document))
        return f"INSERT INTO {self._name(table.name)} ({names}) VALUES ({marks})", values

    def _check_columns(self, table: SourceTable, names: Any, scope: str) -> None:
        kinds = {c.name: c.type for c in table.columns}
        unknown = [n for n in names if n not in kinds]
        if unknown:
            raise ApiError("UNKNOWN_TABLE_COLUMNS", f"The command included the following unknown columns: {unknown}", scope)
        unsupported = [n for n in names if not is_supported(kinds[n])]
        if unsupported:
            raise ApiError("UNSUPPORTED_COLUMN_TYPES", f"The command used the unsupported columns: {unsupported}", scope)

    def _key(self, table: SourceTable, where: Any) -> tuple[str, list[Any]]:
        """The full primary key of a delete or an update."""
        if set(where) != {c.name for c in table.primary_key}:
            raise ApiError(
                "MISSING_FULL_PRIMARY_KEY_FOR_UPDATE_DELETE", "filtering on the full primary key is needed", "FILTER"
            )
        return self._where(table, where)

    def _where(self, table: SourceTable, where: Any) -> tuple[str, list[Any]]:
        self._check_columns(table, where, "FILTER")
        conditions = filter_of(table, where)
        return " AND ".join(f"{quoted(n)} {operator} ?" for n, operator, _ in conditions), [v for _, _, v in conditions]

    def _needs_filtering(self, table: SourceTable, where: Any) -> bool:
        """As WhereCQLClauseAnalyzer has it: columns of the key need no index if there are no others."""
        if set(where) <= {c.name for c in table.primary_key}:
            return False
        return not set(where) <= {target_of(index) for index in self._indexes(table)}

    def _delete_one(self, table: SourceTable, command: Command) -> dict[str, Any]:
        where, values = self._key(table, command["filter"])
        self.session.execute(self.session.prepare(f"DELETE FROM {self._name(table.name)} WHERE {where}"), values)
        return {"status": {"deletedCount": -1}}

    def _update_one(self, table: SourceTable, command: Command) -> dict[str, Any]:
        where, values = self._key(table, command["filter"])
        changes = {**command["update"].get("$set", {}), **dict.fromkeys(command["update"].get("$unset", {}))}
        self._check_columns(table, changes, "UPDATE")
        kinds = {c.name: c.type for c in table.columns}
        sets = ", ".join(f"{quoted(n)} = ?" for n in changes)
        given = [from_json(n, kinds[n], v) for n, v in changes.items()]
        self.session.execute(
            self.session.prepare(f"UPDATE {self._name(table.name)} SET {sets} WHERE {where}"), [*given, *values]
        )
        return {"status": {"matchedCount": 1, "modifiedCount": 1}}

    def _find_one(self, table: SourceTable, command: Command) -> dict[str, Any]:
        found = self._find(table, {**command, "options": {**(command.get("options") or {}), "limit": 1}})
        documents = found["data"]["documents"]
        return {"data": {"document": documents[0] if documents else None}, "status": found["status"]}

    def _find(self, table: SourceTable, command: Command) -> dict[str, Any]:
        options = command.get("options") or {}
        columns = [c for c in table.columns if is_supported(c.type) and self._projected(table, command, c.name)]
        where, values = self._where(table, command.get("filter") or {})
        select, order, limit = ", ".join(quoted(c.name) for c in columns), "", int(options.get("limit") or 0)
        sort = command.get("sort") or {}
        if is_clustering(table, sort):
            order = self._ordered(table, command.get("filter") or {}, sort)
        elif sort:
            ((column, vector),) = sort.items()
            value = self._sort_vector(table, column, vector)
            order, limit = f" ORDER BY {quoted(column)} ANN OF ?", limit or MAX_FOUND
            function = vector_similarity(self.session, table, column) or "cosine"
            select, values = f"{select}, similarity_{function}({quoted(column)}, ?)", [value, *values, value]
        text = f"SELECT {select} FROM {self._name(table.name)}"
        text += (f" WHERE {where}" if where else "") + order + (f" LIMIT {limit}" if limit else "")
        text += " ALLOW FILTERING" if self._needs_filtering(table, command.get("filter") or {}) else ""
        nearest = bool(sort) and not is_clustering(table, sort)
        rows, state = self._page(text, values, None if nearest else options.get("pageState"), MAX_FOUND if nearest else PAGE)
        documents = [
            {c.name: to_json(c.type, v) for c, v in zip(columns, row, strict=False) if v is not None} for row in rows
        ]
        if options.get("includeSimilarity"):
            documents = [{**d, "$similarity": row[-1]} for d, row in zip(documents, rows, strict=True)]
        schema = {c.name: describe(c.type) for c in columns}
        return {"data": {"documents": documents, "nextPageState": state}, "status": {"projectionSchema": schema}}

    def _ordered(self, table: SourceTable, where: Any, sort: Any) -> str:
        """The ORDER BY of a sort, as TableCqlSortClauseResolver makes it; this double does not sort by itself."""
        clustering = [c.name for c in table.primary_key if c.kind == "clustering"]
        in_partition = {n for n, operator, _ in filter_of(table, where) if operator == "="}
        if list(sort) != clustering[: len(sort)] or not {c.name for c in table.partition_key} <= in_partition:
            raise AssertionError(f"the API would sort up to one page in its memory: {sort}, {where}")
        return " ORDER BY " + ", ".join(f"{quoted(n)} {'ASC' if direction == 1 else 'DESC'}" for n, direction in sort.items())

    def _projected(self, table: SourceTable, command: Command, name: str) -> bool:
        projection = command.get("projection") or {}
        self._check_columns(table, projection, "PROJECTION")
        wanted = {n for n, on in projection.items() if on}
        return name in wanted if wanted else name not in projection

    def _sort_vector(self, table: SourceTable, column: str, vector: Any) -> Any:
        kind = next((c.type for c in table.columns if c.name == column), None)
        if kind is None or kind.name != "vector":
            raise ApiError("CANNOT_VECTOR_SORT_NON_VECTOR_COLUMNS", f"{column} is not a vector column", "SORT")
        return from_json(column, kind, vector)

    def _page(self, text: str, values: list[Any], state: str | None, size: int) -> tuple[list[Any], str | None]:
        bound = self.session.prepare(text).bind(values)
        bound.fetch_size = size
        found = self.session.execute(bound, paging_state=base64.b64decode(state) if state else None)
        rows = list(found.current_rows)
        following = found.paging_state
        return rows, base64.b64encode(following).decode() if following else None

    def _name(self, table: str) -> str:
        return f"{quoted(self.keyspace)}.{quoted(table)}"
