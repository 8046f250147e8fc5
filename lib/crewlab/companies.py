"""The invented customers that every chapter asks about."""

COMPANIES: tuple[str, ...] = (
    "Aldermoor",
    "Brightwater",
    "Cinderford",
    "Dunmarrow",
    "Eastvale",
    "Fernhollow",
    "Greywick",
    "Hartwell",
    "Ironbridge",
    "Juniperra",
    "Kestrelby",
    "Larkspire",
    "Meadowgate",
    "Northaven",
    "Oakhurst",
    "Pinecrest",
    "Quillmere",
    "Ravensholt",
    "Stonebeck",
    "Thistledown",
    "Umberfield",
    "Valecross",
    "Westerling",
    "Yarrowdale",
)
"""One-word names, none a part of another: a whole-word search finds exactly the right one."""


def default_requests(count: int) -> list[dict[str, str]]:
    """Give requests about distinct customers, the input that shows whose answer is whose.

    Args:
        count: how many requests; beyond the named companies they are called ``Customer-1``, ...

    Returns:
        One ``{"company": name}`` a request.
    """
    extra = (f"Customer-{number}" for number in range(1, count - len(COMPANIES) + 1))
    return [{"company": name} for name in (*COMPANIES[:count], *extra)]
