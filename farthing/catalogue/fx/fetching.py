"""Fetching a file of reference rates from where the deployment says: only where it names an address.

Rule: docs/rules/currencies.md#market-rates
"""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from farthing.catalogue.fx.reference_file import ReferenceDay, UnusableReferenceFile, read_reference_file

FETCH_SECONDS = 60
MOST_BYTES = 16 * 1024 * 1024


async def fetch_days(url: str) -> Sequence[ReferenceDay]:
    """The days of the file at an address. Raises UnusableReferenceFile, aiohttp.ClientError or TimeoutError."""
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as answer:
        answer.raise_for_status()
        content = await answer.content.read(MOST_BYTES + 1)
        while len(content) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
            content += more
    if len(content) > MOST_BYTES:
        raise UnusableReferenceFile(f"the file has more than {MOST_BYTES} bytes")
    try:
        return read_reference_file(content.decode())
    except UnicodeDecodeError as error:
        raise UnusableReferenceFile("the file is no text in UTF-8") from error
