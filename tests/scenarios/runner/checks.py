"""Compares the results of a row with what the table expects. Differences are texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .adapter import Broken
from .table import Json

TOKEN_MEMBERS = ("access_token", "refresh_token", "client_endpoint", "member_id", "expires")


def matches(expected: object, seen: object) -> bool:
    """Equal; or between two numbers, if the table has two; or one of several texts."""
    if isinstance(expected, list) and isinstance(seen, int):
        return bool(expected[0] <= seen <= expected[1])
    if isinstance(expected, list):
        return seen in expected
    return expected == seen


def most(expected: object) -> int:
    """The largest number that matches."""
    number = expected[1] if isinstance(expected, list) else expected
    assert isinstance(number, int)
    return number


def numbered(rows: Any) -> list[list[str]]:
    """Rows as they are, or `count` of them made from one in which `{n}` is the number."""
    if isinstance(rows, list):
        return rows
    return [
        [text.replace("{n}", str(number)) for text in rows["each"]]
        for number in range(1, rows["count"] + 1)
    ]


def has(expected: Any, seen: Any, where: str = "") -> Iterable[str]:
    """Some members of what a call returned; of a list all items, in their order. Texts in
    `reason_has` are looked for in `reason`."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        for name, value in expected.items():
            real = name.removesuffix("_has")
            if real not in seen:
                raise Broken(f"the table expects {real}, which is not in {seen}")
            if name == real:
                yield from has(value, seen[name], f"{where}{name} ")
            elif value.lower() not in seen[real].lower():
                yield f"{where}{real}: lacks {value!r}: {seen[real]!r}"
    elif isinstance(expected, list) and isinstance(seen, list):
        if len(expected) != len(seen):
            yield f"{where or 'result'}: expected {len(expected)} items, seen {seen}"
        for number, (want, item) in enumerate(zip(expected, seen, strict=False)):
            yield from has(want, item, f"{where}{number}: ")
    elif not matches(expected, seen):
        yield f"{where or 'result'}: expected {expected!r}, seen {seen!r}"


def answer(expected: Any, seen: Json) -> list[str]:
    """The answer to a call: `"ok"`, `{"result": …}` and `{"has": …}` are success, others members of
    an error."""
    if expected == "ok":
        return [] if "result" in seen else [f"expected ok, seen {shown(seen)}"]
    if "has" in expected:
        if "result" not in seen:
            return [f"expected {expected}, seen {shown(seen)}"]
        return list(has(expected["has"], seen["result"]))
    if "result" in expected:
        ok = "result" in seen and seen["result"] == expected["result"]
        return [] if ok else [f"expected {expected}, seen {shown(seen)}"]
    if "error" not in seen:
        return [f"expected {expected}, seen {shown(seen)}"]
    return error(expected, seen["error"])


def shown(seen: Json) -> str:
    if "error" in seen:
        return f"{seen['error']['code']}: {seen['error']['message']}"
    return str(seen)


def error(expected: Json, seen: Json) -> list[str]:
    found = []
    for name, value in expected.items():
        if name in ("message_has", "message_lacks"):
            wanted = [value] if isinstance(value, str) else value
            has = name == "message_has"
            found += [
                f"message {'lacks' if has else 'has'} {text!r}: {seen['message']!r}"
                for text in wanted
                if (text.lower() in seen["message"].lower()) != has
            ]
        elif name not in seen:
            raise Broken(f"the table expects {name}, which this error has not: {seen}")
        elif not matches(value, seen[name]):
            found.append(f"{name}: expected {value!r}, seen {seen[name]!r}")
    if found:
        found.append(f"({seen['code']}: {seen['message']})")
    return found


def outcomes(expected: Any, seen: Json, updates: int) -> list[str]:
    """The answer to a batch: an outcome for each update, or one error for all."""
    if "result" not in seen:
        return answer(expected, seen)
    if len(seen["result"]) != updates:
        return [f"{updates} updates have {len(seen['result'])} outcomes"]
    wanted = expected if isinstance(expected, list) else [expected] * updates
    if len(wanted) != updates:
        raise Broken(f"{updates} updates, but {len(wanted)} outcomes are expected")
    return [
        f"outcome {number}: {problem}"
        for number, (want, one) in enumerate(zip(wanted, seen["result"], strict=True))
        for problem in answer(want, {"result": None} if one is None else one)
    ]


def tokens(expected: Json, seen: Json, now: Json, time: float) -> list[str]:
    """The tokens of a client; `portal` means those that are valid at the portal now."""
    if set(seen) != set(TOKEN_MEMBERS):
        raise Broken(f"the adapter told the tokens' members {', '.join(seen)}")
    found = []
    for name, value in expected.items():
        if name == "expires":  # true: known and in the future
            ok = ((seen[name] or 0) > time) == value
        else:
            ok = seen[name] == (now[name] if value == "portal" else value)
        if not ok:
            told = "one that is not" if name.endswith("_token") else repr(seen[name])
            found.append(f"tokens: {name}: expected {value!r}, seen {told}")
    return found


def portal(
    row: Json, seen: Json, messages: Json, history: Json, senders: Json, now: Json
) -> Iterable[str]:
    """What the portal saw and keeps at the end of a row."""
    for bad in seen["bad"]:
        yield f"the portal saw what must not be: {bad}"
    yield from counts(row["seen"], seen)
    yield from stored(row, messages, history)
    if "senders" in row and row["senders"] != senders:
        yield f"portal keeps senders: expected {row['senders']}, seen {senders}"
    if now["lost"] != row.get("lost", False):
        yield f"the installation is {'lost' if now['lost'] else 'not lost'}"
    if "log" in row:
        yield from log(row["log"], seen["log"])


def counts(expected: Json, seen: Json) -> Iterable[str]:
    """What the portal has counted."""
    for name, value in expected.items():
        if not matches(value, seen[name]):
            yield f"portal saw {name}: expected {value}, seen {seen[name]}"


def stored(expected: Json, messages: Json, history: Json) -> Iterable[str]:
    """The statuses that the portal has stored."""
    if "messages" in expected and expected["messages"] != messages:
        yield f"portal keeps: expected {expected['messages']}, seen {messages}"
    for name, value in expected.get("history", {}).items():
        if history.get(name) != value:
            yield f"history of {name}: expected {value}, seen {history.get(name)}"


def proxy(row: Json, tunnels: int, requests: int) -> Iterable[str]:
    """What went through the proxy."""
    if row.get("tunnels", 0) != tunnels:
        yield f"proxy: expected {row.get('tunnels', 0)} tunnels, seen {tunnels}"
    if requests != row.get("proxy_requests", requests):
        yield f"proxy: expected {row['proxy_requests']} requests, seen {requests}"


def log(expected: list[Json], log: list[Json]) -> Iterable[str]:
    if len(expected) != len(log):
        yield f"log: expected {len(expected)} requests, seen {len(log)}"
        return
    for number, (want, entry) in enumerate(zip(expected, log, strict=True), 1):
        for name, value in want.items():
            seen = entry["user_agent"] if name == "user_agent_begins" else entry[name]
            if name == "user_agent_begins":
                ok = seen.startswith(value)
            elif name in ("params", "answer"):
                ok = all(seen.get(key) == text for key, text in value.items())
            else:
                ok = seen == value
            if not ok:
                yield f"log: request {number}: {name}: expected {value!r}, seen {seen!r}"


def last_requests(log: list[Json]) -> str:
    """The last requests that the portal saw, to show why a row failed."""
    told = []
    for entry in log[-8:]:
        given = entry.get("answer") or {}
        request = f"{entry['host']}{entry['path']}"
        told.append(f"{request} -> {given.get('status')} {given.get('error')}".strip())
    return "requests: " + ", ".join(told)
