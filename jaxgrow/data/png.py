"""Chunks of PNG files."""

import struct
import zlib


_MAX_PROFILE = 2**20  # bytes of an unpacked ICC profile; Pillow refuses larger ones


def without_remarks(content: bytes) -> bytes:
    """Return a PNG without the chunks that do not concern its pixels."""
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        chunk = content[at : at + 12 + length]
        profile = kind == b"iCCP" and _unpacks(chunk[8:-4].partition(b"\0")[2][1:])
        if kind[:1].isupper() or kind in (b"tRNS", b"eXIf") or profile:
            kept.append(chunk)
        at += len(chunk)
    return b"".join(kept)


def _unpacks(packed: bytes) -> bool:
    try:
        unpacking = zlib.decompressobj()
        unpacking.decompress(packed, _MAX_PROFILE)
        return not unpacking.unconsumed_tail
    except zlib.error:
        return False
