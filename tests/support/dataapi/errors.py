"""The server's errors, as it words them in its public source (errors.yaml): family, scope, code, title."""

from __future__ import annotations

from typing import Any
from uuid import uuid4


class ApiError(Exception):
    """An error of the API's own: HTTP 200 with `errors`, unless the status says otherwise."""

    def __init__(
        self, code: str, message: str, scope: str = "", family: str = "REQUEST", title: str = "", status: int = 200
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "id": str(uuid4()), "family": family, "scope": scope, "errorCode": code, "title": title or code.lower().replace("_", " "),
            "message": message,
        }  # fmt: skip

    def answer(self) -> dict[str, Any]:
        return {"errors": [self.body]}


def unauthenticated() -> ApiError:
    return ApiError(
        "UNAUTHENTICATED_REQUEST", "Authentication failed for request due to invalid token.", "SECURITY", status=401
    )


def unknown_table(name: str) -> ApiError:
    return ApiError(
        "UNKNOWN_COLLECTION_OR_TABLE", f"The command tried to get a Collection or Table {name} that does not exist.", "SCHEMA"
    )


def overloaded() -> ApiError:
    """The error that Astra's rate limit answers with."""
    return ApiError(
        "UNEXPECTED_DRIVER_ERROR", "com.datastax.oss.driver.api.core.servererrors.OverloadedException: Rate limit reached", "DATABASE",
        "SERVER",
    )  # fmt: skip


def timeout_writing() -> ApiError:
    return ApiError("TIMEOUT_WRITING_DATA", "The Data API generated a database query that timed out.", "DATABASE", "SERVER")
