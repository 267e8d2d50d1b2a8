"""Couriers: PostgreSQL's NOTIFY, and Redis or Valkey's PUBLISH. Both tell those who listen now and keep nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skep.base.errors import InvalidSetting, Misconfigured, Unavailable
from skep.base.ids import Id
from skep.db.urls import PostgresqlUrl, parse_url
from skep.events.relay import Courier

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 5
SILENCE_S = 30.0
"""How long a connection may be silent before it is asked whether it is there."""
PG_CHANNEL = "skep_events"


def courier(kind: str, *, database_url: str, redis_url: str, hive_id: Id) -> Courier | None:
    """The courier that the settings name; None for a single process. Raises InvalidSetting, Misconfigured."""
    if kind == "postgresql":
        url = parse_url(database_url)
        if not isinstance(url, PostgresqlUrl):
            raise InvalidSetting("events.fanout is postgresql and database.url is not: take redis, or none")
        return PostgresqlCourier(url)
    if kind == "redis":
        if not redis_url:
            raise InvalidSetting("events.fanout is redis: say where it is in events.redis_url")
        return RedisCourier(redis_url, f"skep:{hive_id.hex()}:events")
    return None


class PostgresqlCourier:
    """LISTEN on one connection, NOTIFY on another (https://www.postgresql.org/docs/current/sql-notify.html)."""

    def __init__(self, url: PostgresqlUrl) -> None:
        self._url = url
        self._sender: psycopg.AsyncConnection[Any] | None = None

    async def listen(self, heard: Callable[[str], None], connected: Callable[[], None]) -> None:
        """See Courier."""
        import psycopg

        try:
            async with await self._connect() as connection:
                await connection.execute(f"LISTEN {PG_CHANNEL}")
                connected()
                while True:
                    async for notice in connection.notifies(timeout=SILENCE_S):
                        heard(notice.payload)
                    await connection.execute("SELECT 1")
        except (psycopg.Error, OSError) as error:
            raise Unavailable(f"{self._url.shown}: {_line(error)}") from error

    async def send(self, text: str) -> None:
        """See Courier."""
        import psycopg

        try:
            if self._sender is None or self._sender.closed:
                self._sender = await self._connect()
            await self._sender.execute("SELECT pg_notify(%s, %s)", (PG_CHANNEL, text))
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise Unavailable(f"{self._url.shown}: {_line(error)}") from error

    async def close(self) -> None:
        """See Courier."""
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        import psycopg

        return await psycopg.AsyncConnection.connect(
            self._url.conninfo,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            fallback_application_name="skep events",
            client_encoding="utf8",
        )


class RedisCourier:
    """SUBSCRIBE and PUBLISH (https://redis.io/docs/latest/develop/interact/pubsub/)."""

    def __init__(self, url: str, channel: str) -> None:
        """Raises InvalidSetting, and Misconfigured without the library."""
        try:
            import redis.asyncio as client
        except ImportError:
            raise Misconfigured("events.fanout is redis: install skep[redis]") from None
        try:
            self._client = client.Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=CONNECT_TIMEOUT_S,
                health_check_interval=int(SILENCE_S),
                decode_responses=True,
            )
        except ValueError as error:
            raise InvalidSetting(f"events.redis_url is not a URL of Redis: {error}") from None
        self._channel = channel

    async def listen(self, heard: Callable[[str], None], connected: Callable[[], None]) -> None:
        """See Courier."""
        import redis.exceptions

        try:
            async with self._client.pubsub() as told:
                await told.subscribe(self._channel)
                while True:
                    message = await told.get_message(timeout=SILENCE_S)
                    if message is None:
                        await told.ping()
                    elif message["type"] == "subscribe":
                        connected()
                    elif message["type"] == "message":
                        heard(message["data"])
        except (TimeoutError, redis.exceptions.RedisError, OSError) as error:
            raise Unavailable(f"Redis: {_line(error)}") from error

    async def send(self, text: str) -> None:
        """See Courier."""
        import redis.exceptions

        try:
            await self._client.publish(self._channel, text)
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable(f"Redis: {_line(error)}") from error

    async def close(self) -> None:
        """See Courier."""
        await self._client.aclose()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
