"""Commands of collections: documents in the server's own layout, written by LWTs on `tx_id`."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any
from uuid import uuid1, uuid4

from cassandra.cluster import Session

from support.dataapi import jackson
from support.dataapi.errors import ApiError
from support.dataapi.shredding import check, key_of, shredded, vector_of
from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.cassandra.schema.catalogue import read_tables

PAGE, MAX_FOUND, MAX_COUNTED, TRIES = 20, 1000, 1000, 3
Command = dict[str, Any]
_COLUMNS = (
    "tx_id timeuuid, doc_json text, exist_keys set<text>, array_size map<text, int>, array_contains set<text>, "
    "query_bool_values map<text, tinyint>, query_dbl_values map<text, decimal>, query_text_values map<text, text>, "
    "query_timestamp_values map<text, timestamp>, query_null_values set<text>"
)


class Collections:
    """The collections of one keyspace."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self.session, self.keyspace = session, keyspace

    def all(self) -> dict[str, int | None]:
        """Dimension by name."""
        found = {n: t for n, t in read_tables(self.session, self.keyspace).items() if t.is_collection}
        return {
            name: next((c.type.dimension for c in table.columns if c.type.name == "vector"), None)
            for name, table in found.items()
        }

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"name": n, "options": {"vector": {"dimension": d, "metric": "cosine"}} if d else {}}
            for n, d in self.all().items()
        ]

    def create(self, command: Command) -> dict[str, Any]:
        name = command["name"]
        vector = (command.get("options") or {}).get("vector") or {}
        more = f", query_vector_value vector<float, {vector['dimension']}>" if vector else ""
        options = {"collection": {"name": name, "schema_version": 2, "options": command.get("options") or {}}}
        self.session.execute(
            f"CREATE TABLE IF NOT EXISTS {self._name(name)} (key frozen<tuple<tinyint, text>> PRIMARY KEY, {_COLUMNS}{more}) "
            f"WITH comment = '{json.dumps(options)}'"
        )
        if vector:
            metric = vector.get("metric") or "cosine"
            self.session.execute(
                f"CREATE CUSTOM INDEX IF NOT EXISTS {quoted(name + '_query_vector_value')} ON {self._name(name)} "
                f"(query_vector_value) USING 'StorageAttachedIndex' WITH OPTIONS = {{'similarity_function': '{metric}'}}"
            )
        return {"status": {"ok": 1}}

    def drop(self, command: Command) -> dict[str, Any]:
        self.session.execute(f"DROP TABLE IF EXISTS {self._name(command['name'])}")
        return {"status": {"ok": 1}}

    def run(self, name: str, command: str, body: Command) -> dict[str, Any]:
        return _Collection(self.session, self._name(name), self.all()[name]).run(command, body)

    def _name(self, table: str) -> str:
        return f"{quoted(self.keyspace)}.{quoted(table)}"


class _Collection:
    def __init__(self, session: Session, name: str, dimension: int | None) -> None:
        self._session, self._name, self._dimension = session, name, dimension

    def run(self, command: str, body: Command) -> dict[str, Any]:
        commands = {
            "insertOne": self._insert_one, "insertMany": self._insert_many, "find": self._find, "findOne": self._find_one,
            "findOneAndReplace": self._replace, "updateOne": self._update_one, "updateMany": self._update_many,
            "findOneAndUpdate": self._find_and_update, "deleteOne": self._delete_one, "findOneAndDelete": self._find_and_delete,
            "deleteMany": self._delete_many, "countDocuments": self._count, "estimatedDocumentCount": self._count,
        }  # fmt: skip
        if command not in commands:
            raise ApiError("UNSUPPORTED_COLLECTION_COMMAND", f"The command {command} is not supported by collections.")
        return commands[command](body)

    # writes

    def _insert_one(self, body: Command) -> dict[str, Any]:
        return {"status": {"insertedIds": [self._insert(body["document"])]}}

    def _insert_many(self, body: Command) -> dict[str, Any]:
        if len(body["documents"]) > 100:
            raise ApiError("COMMAND_FIELD_VALUE_INVALID", "amount of documents to insert is over the max limit (100)")
        inserted = [self._insert(d) for d in body["documents"]]
        if (body.get("options") or {}).get("returnDocumentResponses"):
            return {"status": {"documentResponses": [{"_id": i, "status": "OK"} for i in inserted]}}
        return {"status": {"insertedIds": inserted}}

    def _insert(self, document: Any) -> Any:
        document = {"_id": document.get("_id", str(uuid4())), **document} if "_id" not in document else document
        if not self._write(document, None, new=True):
            raise ApiError(
                "DOCUMENT_ALREADY_EXISTS", f"a document already exists with given '_id' ({document['_id']})", "DOCUMENT"
            )
        return document["_id"]

    def _write(self, document: dict[str, Any], before: Any, new: bool = False) -> bool:
        """Write the document if its row still has the `tx_id` in `before`; if `before` is None, only if there is no row."""
        document = {"_id": document["_id"], **document}
        check(document, self._dimension, new)
        values = {"tx_id": uuid1(), "doc_json": jackson.dumps(document), **shredded(document)}
        if self._dimension:
            values["query_vector_value"] = vector_of(document)
        key = key_of(document["_id"])
        if before is None:
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            text = f"INSERT INTO {self._name} (key, {names}) VALUES (?, {marks}) IF NOT EXISTS"
            bound = [key, *values.values()]
        else:
            sets = ", ".join(f"{n} = ?" for n in values)
            text, bound = f"UPDATE {self._name} SET {sets} WHERE key = ? IF tx_id = ?", [*values.values(), key, before]
        return bool(self._session.execute(self._session.prepare(text), bound).one()[0])

    def _change(self, where: Any, upsert: bool, change: Any) -> tuple[Any, Any, dict[str, Any]]:
        """The first matching document before and after, and the status."""
        for _ in range(TRIES):
            found = self._matching(where, 1)
            if not found and not upsert:
                return None, None, {"matchedCount": 0, "modifiedCount": 0}
            tx, before = found[0] if found else (None, None)
            after = change(copy.deepcopy(before) if before else _of_filter(where), before is None)
            status: dict[str, Any] = {"matchedCount": int(before is not None), "modifiedCount": 0}
            if before is None:
                after.setdefault("_id", str(uuid4()))
                status["upsertedId"] = after["_id"]
            elif jackson.dumps(after) == jackson.dumps(before):
                return before, after, status  # nothing to write: the row keeps its timestamps
            else:
                status["modifiedCount"] = 1
            if self._write(after, tx):
                return before, after, status
        raise ApiError("FAILED_CONCURRENT_OPERATIONS", "concurrent modifications", "DATABASE", "SERVER")

    def _replace(self, body: Command) -> dict[str, Any]:
        options = body.get("options") or {}

        def change(document: Any, new: bool) -> Any:
            given = body["replacement"]
            if "_id" in given and not new and jackson.dumps(given["_id"]) != jackson.dumps(document["_id"]):
                raise ApiError("DOCUMENT_REPLACE_DIFFERENT_DOCID", "different '_id's", "DOCUMENT")
            return {**({"_id": document["_id"]} if "_id" in document else {}), **given}

        before, after, status = self._change(body["filter"], bool(options.get("upsert")), change)
        chosen = after if options.get("returnDocument") == "after" else before
        return {"data": {"document": _projected(chosen, body.get("projection"))}, "status": status}

    def _update_one(self, body: Command) -> dict[str, Any]:
        upsert = bool((body.get("options") or {}).get("upsert"))
        return {"status": self._change(body["filter"], upsert, _updater(body["update"]))[2]}

    def _update_many(self, body: Command) -> dict[str, Any]:
        matched = [
            self._change({"_id": d["_id"]}, False, _updater(body["update"]))[2] for _, d in self._matching(body["filter"])
        ]
        return {"status": {"matchedCount": len(matched), "modifiedCount": sum(s["modifiedCount"] for s in matched)}}

    def _find_and_update(self, body: Command) -> dict[str, Any]:
        options = body.get("options") or {}
        before, after, status = self._change(body["filter"], bool(options.get("upsert")), _updater(body["update"]))
        chosen = after if options.get("returnDocument") == "after" else before
        return {"data": {"document": _projected(chosen, body.get("projection"))}, "status": status}

    def _delete(self, where: Any, most: int) -> list[Any]:
        found = self._matching(where, most)
        text = self._session.prepare(f"DELETE FROM {self._name} WHERE key = ? IF tx_id = ?")
        return [d for tx, d in found if self._session.execute(text, [key_of(d["_id"]), tx]).one()[0]]

    def _delete_one(self, body: Command) -> dict[str, Any]:
        return {"status": {"deletedCount": len(self._delete(body["filter"], 1))}}

    def _find_and_delete(self, body: Command) -> dict[str, Any]:
        found = self._delete(body["filter"], 1)
        return {
            "data": {"document": _projected(found[0], body.get("projection")) if found else None},
            "status": {"deletedCount": len(found)},
        }

    def _delete_many(self, body: Command) -> dict[str, Any]:
        if not body.get("filter"):
            self._session.execute(f"TRUNCATE {self._name}")
            return {"status": {"deletedCount": -1}}
        found = self._delete(body["filter"], 20)
        more = bool(self._matching(body["filter"], 1))
        return {"status": {"deletedCount": len(found), **({"moreData": True} if more else {})}}

    # reads

    def _count(self, body: Command) -> dict[str, Any]:
        found = len(self._matching(body.get("filter") or {}, MAX_COUNTED + 1))
        return {"status": {"count": min(found, MAX_COUNTED), **({"moreData": True} if found > MAX_COUNTED else {})}}

    def _find_one(self, body: Command) -> dict[str, Any]:
        found = self._matching(body.get("filter") or {}, 1)
        return {"data": {"document": _projected(found[0][1], body.get("projection")) if found else None}}

    def _find(self, body: Command) -> dict[str, Any]:
        options, sort = body.get("options") or {}, body.get("sort") or {}
        if "$vector" in sort:
            return self._nearest(body, options, sort["$vector"])
        where, limit = body.get("filter") or {}, int(options.get("limit") or 0)
        if where or sort:  # at most one page, where it is sorted
            found = [d for _, d in self._matching(where, limit or None)]
            for name, direction in reversed(list(sort.items())):
                found.sort(key=lambda d, n=name: str(_value(d, n)), reverse=direction < 0)
            found, state = (found[:100] if sort else found), None
        else:
            found, state = self._page(options.get("pageState"), limit)
        return {
            "data": {"documents": [_projected(d, body.get("projection")) for d in found], "nextPageState": state},
            "status": {},
        }

    def _page(self, state: str | None, limit: int) -> tuple[list[Any], str | None]:
        bound = self._session.prepare(f"SELECT doc_json FROM {self._name}" + (f" LIMIT {limit}" if limit else "")).bind([])
        bound.fetch_size = PAGE
        found = self._session.execute(bound, paging_state=base64.b64decode(state) if state else None)
        documents = [jackson.loads(row[0]) for row in found.current_rows]
        following = found.paging_state
        return documents, base64.b64encode(following).decode() if following else None

    def _nearest(self, body: Command, options: Any, vector: Any) -> dict[str, Any]:
        limit = int(options.get("limit") or MAX_FOUND)
        if limit > MAX_FOUND:
            raise ApiError("COMMAND_FIELD_VALUE_INVALID", "limit options should not be greater than 1000 for vector search")
        if not self._dimension:
            raise ApiError("UNSUPPORTED_VECTOR_SORT_FOR_COLLECTION", "vector sort", "SORT")
        value = vector_of({"$vector": vector})
        if value is None or len(value) != self._dimension:
            raise ApiError("VECTOR_SIZE_MISMATCH", "length of vector parameter different from declared '$vector' dimension")
        text = (
            f"SELECT doc_json, similarity_cosine(query_vector_value, ?) FROM {self._name} "
            f"ORDER BY query_vector_value ANN OF ? LIMIT {limit}"
        )
        rows = list(self._session.execute(self._session.prepare(text), [value, value]))
        documents = [_projected(jackson.loads(row[0]), body.get("projection")) for row in rows]
        if options.get("includeSimilarity"):
            documents = [{**d, "$similarity": row[1]} for d, row in zip(documents, rows, strict=True)]
        return {"data": {"documents": documents, "nextPageState": None}, "status": {}}

    def _matching(self, where: Any, most: int | None = None) -> list[tuple[Any, Any]]:
        """(tx_id, document) of what matches: by key, or by scanning all."""
        if set(where) == {"_id"} and not (isinstance(where["_id"], dict) and "$in" in where["_id"]):
            identifier = where["_id"]["$eq"] if isinstance(where["_id"], dict) and "$eq" in where["_id"] else where["_id"]
            text = self._session.prepare(f"SELECT tx_id, doc_json FROM {self._name} WHERE key = ?")
            return [(row[0], jackson.loads(row[1])) for row in self._session.execute(text, [key_of(identifier)]) if row[1]]
        rows = self._session.execute(f"SELECT tx_id, doc_json FROM {self._name}")
        found = ((row[0], jackson.loads(row[1])) for row in rows)
        matching = [(tx, d) for tx, d in found if all(_matches(_value(d, n), v) for n, v in where.items())]
        return matching[:most]


def _matches(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and "$in" in wanted:
        return value in wanted["$in"]
    return bool(value == (wanted["$eq"] if isinstance(wanted, dict) and "$eq" in wanted else wanted))


def _of_filter(where: Any) -> dict[str, Any]:
    return {n: v for n, v in where.items() if not (isinstance(v, dict) and any(k in v for k in ("$in", "$eq")))}


def _names(path: str) -> list[str]:
    names, at = [""], 0
    while at < len(path):
        if path[at] == "&":
            names[-1] += path[at + 1]
            at += 1
        elif path[at] == ".":
            names.append("")
        else:
            names[-1] += path[at]
        at += 1
    return names


def _value(document: Any, path: str) -> Any:
    for name in _names(path):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _updater(update: Any) -> Any:
    def change(document: dict[str, Any], new: bool) -> dict[str, Any]:
        for operator, fields in update.items():
            if operator == "$setOnInsert" and not new:
                continue
            for path, value in fields.items():
                _apply(document, operator, path, value)
        return document

    return change


def _apply(document: dict[str, Any], operator: str, path: str, value: Any) -> None:
    if path == "_id":
        raise ApiError("UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID", "Update operators cannot be used on _id", "UPDATE")
    *parents, name = _names(path)
    within = document
    for parent in parents:
        within = within.setdefault(parent, {})
    if operator in ("$set", "$setOnInsert"):
        within[name] = value
    elif operator == "$unset":
        within.pop(name, None)
    elif operator == "$inc":
        within[name] = within.get(name, 0) + value
    elif operator == "$push":
        within.setdefault(name, []).append(value)
    else:
        raise ApiError("UNSUPPORTED_UPDATE_OPERATION", f"{operator} is not supported", "UPDATE")


def _projected(document: Any, projection: Any) -> Any:
    """The document as it is returned: without `$vector`, unless that is requested."""
    if document is None:
        return None
    projection = projection or {}
    if projection.get("*"):
        return document
    wanted = [n for n, on in projection.items() if on and n != "_id" and not n.startswith("$")]
    if wanted or projection == {"_id": True} or projection == {"_id": 1}:
        found = {n: document[n] for n in ["_id", *wanted] if n in document and projection.get("_id", True)}
    else:
        found = {n: v for n, v in document.items() if projection.get(n, True) and not n.startswith("$")}
    if projection.get("$vector") and "$vector" in document:
        found["$vector"] = document["$vector"]
    return found
