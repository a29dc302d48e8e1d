"""The content of a source: write the images of all records as a CSV, and as rows for Postgres."""

import asyncio
import csv
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from io import StringIO
from pathlib import Path

from catalog.contents import StagedContent
from catalog.sources.readings import Reading
from catalog.sources.records import Records
from trainer.sources.source_errors import too_large


@asynccontextmanager
async def staged_content(
    records: Records, reading: Reading, url: str, *, max_images: int
) -> AsyncIterator[StagedContent]:
    """Write what was read to files, which exist while entered. Raises ServiceError above `max_images` images."""
    with tempfile.TemporaryDirectory(prefix="similis-source-") as folder:
        csv_path, rows_path = Path(folder) / "csv", Path(folder) / "rows"
        digest, count = hashlib.sha256(), 0
        async with aclosing(records.rows(reading.collection_id)) as batches:
            async for batch in batches:
                count += len(batch)
                if count > max_images:
                    raise too_large(url, f"the source has more than {max_images:,} images")
                digest.update(await asyncio.to_thread(_append, csv_path, rows_path, batch))
        for path in (csv_path, rows_path):
            path.touch()
        yield StagedContent(csv_path, rows_path, digest.digest(), count, reading.key_name)


def _append(csv_path: Path, rows_path: Path, rows: Sequence[tuple[str, str]]) -> bytes:
    """Append rows to both files, and return the bytes that were added to the CSV."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    added = text.getvalue().encode()
    with csv_path.open("ab") as file:
        file.write(added)
    with rows_path.open("a", encoding="utf-8", newline="") as output:
        # Everything is quoted, because COPY reads an unquoted empty field as NULL.
        csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return added
