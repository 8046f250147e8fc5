"""The search endpoint: it answers as Serper does, for SerperDevTool(base_url=...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from crewlab.services import asking
from crewlab.services.endpoint import Endpoint, Refusal, as_json
from crewlab.services.traffic import Visit

KINDS = ("/search", "/news")
_TOPICS = (
    ("annual report", "Revenue, margins and outlook as the company itself states them."),
    ("customer reviews", "Customers describe the service as quick and reliable."),
    ("market notes", "Analysts expect steady demand over the next two quarters."),
)
_PUBLISHED = "2 days ago"


class SearchEndpoint(Endpoint):
    """Searches, each answered with three results about the query."""

    def body_of_error(self, refusal: Refusal) -> Mapping[str, Any]:
        """Put a refusal into Serper's shape."""
        return {"message": refusal.message, "statusCode": refusal.status}

    async def answer(
        self, request: web.BaseRequest, body: dict[str, Any], visit: Visit
    ) -> web.StreamResponse:
        """Answer a search; the results name whoever the query names, and nobody else."""
        query = body.get("q")
        if not isinstance(query, str) or not query.strip():
            raise Refusal(400, "Missing query parameter: send what to search for as 'q'.")
        if not request.headers.get("X-API-KEY"):
            raise Refusal(403, "Unauthorized: send a key in the header X-API-KEY, any will do.")
        visit.query, visit.names = query, asking.names_in(query)
        kind = request.path.strip("/")
        count = body.get("num")
        found = results(query, count if isinstance(count, int) and count > 0 else len(_TOPICS))
        parameters = {"q": query, "type": kind, "engine": "google"}
        listed = {"news" if kind == "news" else "organic": found}
        return as_json({"searchParameters": parameters, **listed, "credits": 1})


def results(query: str, count: int) -> list[dict[str, Any]]:
    """Make up what a search engine might find.

    Args:
        query: what was searched for.
        count: how many results are wanted; there are three at most.

    Returns:
        Results with title, link, snippet and position; date and source are what news have on top.
    """
    return [
        {
            "title": f"{query}: {topic}",
            "link": f"https://example.com/{topic.replace(' ', '-')}",
            "snippet": f"{query}. {snippet}",
            "position": position,
            "date": _PUBLISHED,
            "source": "Example News",
            "imageUrl": "",
        }
        for position, (topic, snippet) in enumerate(_TOPICS[:count], start=1)
    ]
