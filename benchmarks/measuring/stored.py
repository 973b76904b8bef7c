"""A stream with events over ports in memory, in this very process: what the engine does without AWS."""

from __future__ import annotations

from pathlib import Path

import msgspec

from measuring.http_load import event
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.decode import decode_json
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.layout import Layout
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore

_PIECE = 10_000


async def stored(
    directory: Path, events: int, deduplication: Deduplication, entities: int = 10_000
) -> Stream:
    """Every twentieth event is sent twice. Segments of 10,000 rows lie in `directory` too."""
    clock, entropy, offload = SystemClock(), SystemEntropy(), ThreadOffload(2)
    table = MemoryTable()
    objects = MemoryObjectStore(MemoryBucket(), clock)
    stream = Stream(
        "bench",
        deduplication.lower(),
        Layout("", "0" * 32),
        deduplication,
        None,
        (),
        objects,
        MemoryIndex(table),
        SegmentCache(objects, directory, offload),
        ParquetCodec(),
        clock,
        entropy,
        offload,
    )
    await reindex(stream, table.ensure)
    capture = Capture(stream, CaptureSettings())
    for start in range(0, events, _PIECE):
        numbers = range(start, min(events, start + _PIECE))
        wanted = [event(number, entities) for number in numbers]
        wanted += [event(number, entities) for number in numbers if number % 20 == 0]
        taken = decode_json(msgspec.json.encode({"events": wanted}), IntakeRules())
        await capture.ingest([each.arrival if isinstance(each, Decoded) else each for each in taken])
    await capture.close()
    return stream
