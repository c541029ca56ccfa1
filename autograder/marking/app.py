"""The marking room as a web page: for this machine only, for who has the token, and with nothing from elsewhere."""

import hmac
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autograder.marking.books import MarksError
from autograder.marking.room import Refused, Room

__all__ = ["room_app"]

PAGE = Path(__file__).with_name("page")
STYLE = Path(__file__).resolve().parents[1] / "report" / "templates" / "style.css"
FILES = {
    "/": (PAGE / "room.html", "text/html"), "/room.js": (PAGE / "room.js", "text/javascript"), "/room.css": (PAGE / "room.css", "text/css"),
    "/style.css": (STYLE, "text/css"),
}  # fmt: skip
MOST_BYTES = 256 * 2**10  # of a request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip

Ask = Callable[[Request, dict[str, Any]], Any]


def room_app(room: Room, token: str, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")) -> Starlette:
    """The application.

    The page itself holds nothing of the class, so it is given to anybody on this machine. What it asks for needs the token in a header,
    which no other site can send; the token came to the page behind the ``#`` of its address, which no server sees.

    Args:
        room: The room.
        token: What the page must know.
        hosts: Names by which it may be asked; any other name that leads here is somebody else's site.
    """

    def route(path: str, ask: Ask, method: str = "GET") -> Route:
        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return _json({"error": "This page has lost its token: open the address that the command printed."}, 403)
            try:
                content = await _content(request) if method == "POST" else {}
                return _json(await run_in_threadpool(ask, request, content))
            except (Refused, MarksError) as error:
                return _json({"error": str(error)}, 409)
            except (TypeError, ValueError) as error:
                return _json({"error": f"That is no mark: {error}"}, 400)
            except OSError as error:
                return _json({"error": f"It could not be saved: {error}"}, 507)

        return Route(path, answer, methods=[method])

    def keep_mark(request: Request, content: dict[str, Any]) -> Any:
        check = str(content.get("check"))
        room.mark(check, content.get("number", -1), content.get("mark"), content.get("saw") or {})
        return room.state(check)

    def keep_criterion(request: Request, content: dict[str, Any]) -> Any:
        check = str(content.get("check"))
        name, text, points = (content.get(key) for key in ("name", "text", "points"))
        room.criterion(check, str(name or ""), str(text), points, content.get("saw") or {})  # type: ignore[arg-type]  # read_book checks it
        return room.state(check)

    routes = [
        *(Route(path, _file(*file)) for path, file in FILES.items()),
        route("/api/class", lambda request, content: room.overview()),
        route("/api/state/{check}", lambda request, content: room.state(request.path_params["check"])),
        route("/api/answer/{check}/{number:int}", lambda request, content: room.answer(**request.path_params)),
        route("/api/mark", keep_mark, "POST"),
        route("/api/criterion", keep_criterion, "POST"),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))], exception_handlers={HTTPException: _fault}
    )  # fmt: skip


async def _content(request: Request) -> dict[str, Any]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refused("That is too much for one mark.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"Expected JSON: {error}") from error
    if isinstance(content, dict) and all(isinstance(content.get(key), dict | None) for key in ("mark", "saw")):
        return content
    raise Refused("Expected a JSON object with mark and saw.")


def _file(path: Path, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(path.read_bytes(), media_type=kind, headers=HEADERS)

    return answer


def _json(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers=HEADERS)


async def _fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)
