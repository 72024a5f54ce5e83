"""A music service: songs, their genres, playlists, and songs of a mood."""

from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sync import AsyncDualWriteStore, SourceUnavailable, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure

PAGE = 50
Mood = tuple[float, float, float, float]


class Song(BaseModel):
    title: str
    artist: str
    genre: str
    mood: Mood | None = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with AsyncDualWriteStore() as store:  # the environment says which: Cassandra, both sides, or Postgres
        app.state.store = store
        yield


app = FastAPI(lifespan=lifespan)


def opened(request: Request) -> AsyncDualWriteStore:
    return request.app.state.store


Store = Annotated[AsyncDualWriteStore, Depends(opened)]


# songs, by id


@app.post("/songs", status_code=201)
async def add_song(song: Song, store: Store) -> dict[str, Any]:
    row = {"id": uuid4(), **song.model_dump()}
    await store.put("songs", row)
    return row


@app.put("/songs/{song_id}")
async def save_song(song_id: UUID, song: Song, store: Store) -> dict[str, Any]:
    row = {"id": song_id, **song.model_dump()}
    await store.put("songs", row)
    return row


@app.delete("/songs/{song_id}", status_code=204)
async def delete_song(song_id: UUID, store: Store) -> None:
    await store.delete("songs", {"id": song_id})


@app.get("/songs/{song_id}")
async def get_song(song_id: UUID, store: Store) -> dict[str, Any]:
    row = await store.get("songs", {"id": song_id})
    if row is None:
        raise HTTPException(404, "there is no such song")
    return row


# many songs


@app.get("/songs")
async def all_songs(request: Request, response: Response, store: Store, after: str | None = None) -> list[dict[str, Any]]:
    """A page of all songs; the header Link leads to the next one."""
    rows = await store.scan("songs", after=after, page_rows=PAGE)
    page = await first(rows, PAGE)
    if len(page) == PAGE:
        response.headers["Link"] = f'<{request.url.include_query_params(after=rows.cursor)}>; rel="next"'
    return page


@app.get("/some-songs")
async def some_songs(ids: Annotated[list[UUID], Query()], store: Store) -> list[dict[str, Any] | None]:
    """The songs of these ids, in their order; null for one that does not exist."""
    return await store.get_many("songs", [{"id": song_id} for song_id in ids])


@app.get("/genres/{genre}")
async def songs_of_a_genre(genre: str, store: Store, limit: int = 20) -> list[dict[str, Any]]:
    return [row async for row in await store.find("songs", {"genre": genre}, limit=limit)]


@app.post("/search")
async def songs_of_a_mood(mood: Mood, store: Store, genre: str | None = None, limit: int = 10) -> list[dict[str, Any]]:
    """The songs nearest to a mood, nearest first, of one genre or of all."""
    found = await store.search("songs", "mood", mood, limit=limit, where={"genre": genre} if genre else None)
    return [{**row, "similarity": similarity} for row, similarity in found]


# a playlist: a partition, the newest entry first


@app.put("/playlists/{owner}/{at}/{song_id}", status_code=204)
async def add_to_playlist(owner: str, at: datetime, song_id: UUID, store: Store) -> None:
    await store.put("playlist", {"owner": owner, "at": at, "song": song_id})


@app.delete("/playlists/{owner}/{at}/{song_id}", status_code=204)
async def remove_from_playlist(owner: str, at: datetime, song_id: UUID, store: Store) -> None:
    await store.delete("playlist", {"owner": owner, "at": at, "song": song_id})


@app.get("/playlists/{owner}")
async def playlist(owner: str, store: Store, before: datetime | None = None, limit: int = 50) -> list[dict[str, Any]]:
    where = {"owner": owner, **({"at": {"<": before}} if before else {})}
    return [row async for row in await store.find("playlist", where, limit=limit)]


async def first(rows, count):
    """The next so many rows: `itertools.islice` for asyncio."""
    found: list[dict[str, Any]] = []
    while len(found) < count and (row := await anext(rows, None)) is not None:
        found.append(row)
    return found


# what the store's errors mean for a client


@app.exception_handler(WriteRefused)
async def refused(request: Request, error: WriteRefused) -> JSONResponse:
    """Nothing was written: the request is wrong, or no write is accepted at the moment."""
    if isinstance(error, WriteRefusedNow):
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(WriteUnsure)
@app.exception_handler(SourceUnavailable)
@app.exception_handler(TargetUnavailable)
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    """No answer. A PUT or DELETE may be repeated, whatever became of it."""
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})
