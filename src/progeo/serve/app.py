"""The HTTP interface: what can be asked, in which form, and who answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    File,
    Form,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
)
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as AnyHTTPException

from progeo.console import logger
from progeo.errors import ProgeoError
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.places.database import PlaceDatabase
from progeo.search.rerank import Reranker
from progeo.serve.answers import (
    ComparisonAnswer,
    HealthAnswer,
    LocateAnswer,
    PlacesAnswer,
    Problem,
    ReadyAnswer,
    describe_estimate,
    refuse_content,
)
from progeo.serve.batching import Busy
from progeo.serve.clusters import MAX_ZOOM, Box
from progeo.serve.guards import Guard, make_problem, make_security_headers
from progeo.serve.metrics import Metrics
from progeo.serve.pages import render_map, render_reference
from progeo.serve.service import MEGA, DatabaseLost, Limits, Service

STATIC = Path(__file__).with_name("static")
DESCRIPTION = "Where was this photo taken? Photos in, positions out. Photos that are sent are not kept."
ATTRIBUTION = "© OpenStreetMap contributors"
NUMBER = r" *-?\d{1,9}(\.\d{1,20})? *"
ID = "^[0-9a-f]{1,64}$"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "the service asks for a token"},
    422: {"model": Problem, "description": "a value is missing or cannot be"},
}
LOCATE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the form cannot be read"},
    413: {"model": Problem, "description": "too many or too large photos"},
    415: {"model": Problem, "description": "a file is no photo"},
    429: {"model": Problem, "description": "too many photos are waiting; Retry-After says for how many seconds"},
    503: {
        "model": Problem,
        "description": "it took too long, or the database is lost or has just got another model",
    },
}
RETRY = {"Retry-After": "5"}
router = APIRouter(responses=PROBLEMS)


def create_app(
    database: PlaceDatabase,
    *,
    limits: Limits | None = None,
    make_reranker: Callable[[PlaceDatabase], Reranker] = lambda database: database.create_reranker("auto"),
    min_confidence: float | None = None,
    even_unknown: bool = False,
    token: str | None = None,
    cold: bool = False,
    tiles: str | None = None,
    tiles_attribution: str = ATTRIBUTION,
    allowed_hosts: frozenset[str] | None = None,
) -> FastAPI:
    """Return the service of a place database; its threads run while the server does.

    Args:
        database: open for as long as the service runs; its encoder says how large batches are, and how many threads.
        limits: what is refused.
        make_reranker: gives the reranker of a database, now and when it has been rebuilt; a request can do without.
        min_confidence: as of ``PlaceDatabase.locate``.
        even_unknown: as of ``PlaceDatabase.locate``.
        cold: warm up first, in a thread; until then ``/api/ready`` is 503.
        token: what ``Authorization: Bearer`` must carry; without it everyone is let in.
        tiles: address of map tiles, with ``{z}``, ``{x}`` and ``{y}``; without it, and for a database of a local frame,
            the map has a plain ground.
        tiles_attribution: whom the map names as their source.
        allowed_hosts: host names that the service may be called by; any without it.
    """
    limits = limits or Limits()
    metrics = Metrics(
        photos=lambda: app.state.service.count_photos(),
        version=lambda: app.state.service.read_version(),
        waiting=lambda: app.state.service.batcher.waiting,
    )
    local_frame = database.local_frame

    def show_page(request: Request) -> HTMLResponse:
        compares = request.app.state.service.compares
        shown = None if local_frame else tiles
        return HTMLResponse(render_map(shown, tiles_attribution, limits.max_upload_mb, local_frame, compares))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service(
            database,
            metrics,
            limits,
            make_reranker=make_reranker,
            min_confidence=min_confidence,
            even_unknown=even_unknown,
        )
        with app.state.service:
            if cold:
                app.state.service.start_warming()
            yield

    app = FastAPI(
        title="progeo",
        version=version("progeo"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Relative to /openapi.json: right below any path of a reverse proxy, which need not be told to the service.
        servers=[{"url": "./"}],
        root_path_in_servers=False,
    )
    app.include_router(router, dependencies=[Security(HTTPBearer(auto_error=False))] if token else None)
    app.state.pinned = database.pinned
    app.add_api_route("/api/health", check_health, tags=["service"])
    app.add_api_route("/api/ready", check_ready, responses={503: {"model": Problem}}, tags=["service"])
    app.add_route("/", show_page, include_in_schema=False)
    app.add_route("/docs", lambda _: HTMLResponse(render_reference(app.openapi())), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC, packages=[("progeo.html", "static")]))

    app.add_middleware(
        Guard,
        max_bytes=int(limits.max_upload_mb * MEGA),
        max_seconds=limits.max_seconds,
        headers=make_security_headers(tiles),
        token=token,
        allowed_hosts=allowed_hosts,
    )
    app.add_middleware(metrics.measure_requests)  # type: ignore[arg-type]

    app.add_exception_handler(AnyHTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse_values)
    app.add_exception_handler(Busy, ask_to_wait)
    app.add_exception_handler(DatabaseLost, confess_loss)
    app.add_exception_handler(OSError, confess_lack)
    return app


async def refuse(request: Request, error: Exception) -> Response:
    """Say what is wrong with a request."""
    assert isinstance(error, AnyHTTPException)
    if isinstance(error.__cause__, OSError):  # while the form was read
        return await confess_lack(request, error.__cause__)
    return make_problem(error.status_code, error.detail, error.headers)


async def refuse_values(_: Request, error: Exception) -> Response:
    """Say in one sentence which values cannot be."""
    assert isinstance(error, RequestValidationError)
    return make_problem(422, "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()))


async def ask_to_wait(_: Request, error: Exception) -> Response:
    """Say when to come back."""
    assert isinstance(error, Busy)
    return make_problem(429, str(error), {"Retry-After": str(error.retry_after)})


async def confess_loss(_: Request, error: Exception) -> Response:
    """Say that the database cannot be read, and nothing of where it lies."""
    return make_problem(503, "The database cannot be read at the moment; the log of the service says why.", RETRY)


async def confess_lack(_: Request, error: Exception) -> Response:
    """Say that the machine lacks something, such as file descriptors or room for an upload."""
    assert isinstance(error, OSError)
    logger.warning("A request was refused: %s", error.strerror or error)
    return make_problem(503, "The service lacks resources at the moment; its log says which.", RETRY)


def get_service(request: Request) -> Service:
    """Return what the requests of an application share, with the database as it is now."""
    service: Service = request.app.state.service
    service.renew()
    return service


OfService = Annotated[Service, Depends(get_service)]


def read_prior(
    service: OfService,
    near: Annotated[
        str | None,
        Form(
            description="latitude,longitude near which the photo was taken; x,y in metres of a local frame",
            pattern=f"^{NUMBER},{NUMBER}$",
        ),
    ] = None,
    within: Annotated[float | None, Form(description="metres around near", gt=0, allow_inf_nan=False)] = None,
    heading: Annotated[
        float | None, Form(description="where the camera looked, degrees clockwise from north", ge=0, le=360)
    ] = None,
    after: Annotated[date | None, Form(description="only photos of the database taken on this day or later")] = None,
    before: Annotated[date | None, Form(description="only photos of the database taken on this day or earlier")] = None,
) -> Prior | None:
    """Return what is known of the photos already, if anything."""
    if all(value is None for value in (near, within, heading, after, before)):
        return None
    position: tuple[float, float] | None = None
    if near is not None:
        first, second = map(float, near.split(","))
        position = (first, second)
    try:
        local_frame = service.database.local_frame
        return Prior(near=position, within=within, heading=heading, after=after, before=before, local_frame=local_frame)
    except ProgeoError as error:
        raise refuse_content(error) from error


def read_box(
    bbox: Annotated[
        str | None,
        Query(
            description="west,south,east,north in degrees; in metres of a local frame",
            pattern=f"^{NUMBER}(,{NUMBER}){{3}}$",
        ),
    ] = None,
) -> Box | None:
    """Return the bounds to look into, if there are any."""
    return None if bbox is None else Box(*map(float, bbox.split(",")))


@router.post("/api/locate", responses=LOCATE_PROBLEMS, tags=["photos"])
async def locate(
    service: OfService,
    prior: Annotated[Prior | None, Depends(read_prior)],
    photos: Annotated[
        list[UploadFile], File(min_length=1, description="one or more: JPEG, PNG, WebP, or HEIC where installed")
    ],
    rerank: Annotated[
        bool, Form(description="false leaves the photos found in the order of their descriptors, where others re-rank")
    ] = True,
) -> LocateAnswer:
    """Estimate where photos were taken; what is known of them already narrows the search."""
    named = [(photo.filename or f"photo {number}", photo.file) for number, photo in enumerate(photos, start=1)]
    try:
        estimates = await service.locate(named, prior, rerank=rerank)
    except NoPhotoFitsError as error:
        raise refuse_content(error) from error
    answers = [describe_estimate(name, estimate) for (name, _), estimate in zip(named, estimates, strict=True)]
    return LocateAnswer.model_validate({"photos": answers})


@router.post(
    "/api/compare",
    responses={**LOCATE_PROBLEMS, 404: {"model": Problem, "description": "nothing is there to compare"}},
    tags=["photos"],
)
async def compare(
    service: OfService,
    photo: Annotated[UploadFile, File(description="JPEG, PNG, WebP, or HEIC where installed")],
    id: Annotated[str, Form(description="of a photo of the database, as in matches and places", pattern=ID)],
) -> ComparisonAnswer:
    """Tell which details of a photo and of one of the database fit together, to show why they match."""
    explanation = await service.explain(photo.filename or "photo", photo.file, id)
    return ComparisonAnswer.model_validate(explanation.to_dict())


@router.get("/api/places", tags=["database"])
def list_places(
    service: OfService,
    box: Annotated[Box | None, Depends(read_box)],
    zoom: Annotated[int, Query(description="of a map with tiles of 256 pixels", ge=0, le=MAX_ZOOM)] = MAX_ZOOM,
) -> PlacesAnswer:
    """List where the database has photos, as GeoJSON; photos close to each other at this zoom are joined.

    In a database of a local frame the coordinates are x and y in metres.
    """
    return PlacesAnswer.model_validate(service.places.cluster(zoom, box))


@router.get(
    "/api/photos/{id}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 404: {"model": Problem}},
    tags=["database"],
)
def show_photo(
    service: OfService,
    id: Annotated[str, PathParameter(description="as in matches and places", pattern=ID)],
) -> Response:
    """Return the thumbnail of a photo of the database, a JPEG."""
    thumbnail = service.read_thumbnail(id)
    # The id follows from the photo's content, so what stands behind it never changes.
    return Response(thumbnail, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400, immutable"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, tags=["service"])
def show_metrics(service: OfService) -> Response:
    """Return counters and timings as Prometheus reads them."""
    return Response(service.metrics.format(), media_type=CONTENT_TYPE_LATEST)


def check_ready(service: OfService) -> ReadyAnswer:
    """Tell whether a proxy should send requests here; this needs no token."""
    if not service.is_warm:
        raise AnyHTTPException(503, "The service is warming up.", {"Retry-After": "1"})
    return ReadyAnswer(status="ready", database_version=service.read_version())


def check_health(service: OfService) -> HealthAnswer:
    """Tell that the service is up; this needs no token."""
    return HealthAnswer(status="ok", version=version("progeo"), photos=service.count_photos())
