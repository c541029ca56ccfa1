"""Damage to files: encodings, line ends, merge conflicts, files that were cut off, flipped bits, zips that lie."""

import io
import random
import struct
import zipfile

__all__ = ["mutate_bytes", "mutate_text_file", "mutate_zip"]


def _conflict(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    first, second, third = sorted(rng.randrange(len(lines) + 1) for _ in range(3))
    mine, theirs = lines[first:second], lines[second:third]
    return "\n".join([*lines[:first], "<<<<<<< HEAD", *mine, "=======", *theirs, ">>>>>>> main", *lines[third:]])


def mutate_text_file(rng: random.Random, text: str) -> bytes:
    """Save a text as some editor, merge or broken copy would."""
    if rng.random() > 0.9:
        text = _conflict(rng, text)
    kind = rng.randrange(14)
    if kind == 0:
        return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
    if kind == 1:
        return text.encode("utf-16", "surrogatepass")
    if kind == 2:
        return text.encode("utf-16-be", "surrogatepass")  # without a mark
    if kind == 3:
        return text.replace("\n", rng.choice(["\r\n", "\r", "\n\r"])).encode("utf-8", "surrogatepass")
    if kind == 4:
        return text.encode("latin-1", "replace")
    data = text.encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, data) if kind in (5, 6) else data


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cut, flip, double, fill: what disks and networks do."""
    kind, data = rng.randrange(7), bytearray(data)
    if not data:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
    place = rng.randrange(len(data))
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for _ in range(rng.choice([1, 3, 30])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[place:place] = bytes(rng.choice([1, 8, 4096]))
    elif kind == 3:
        other = rng.randrange(len(data))
        data[place:place] = data[min(place, other) : max(place, other)]
    elif kind == 4:
        del data[place : place + rng.choice([1, 7, 400])]
    elif kind == 5:
        data += bytes(rng.randrange(256) for _ in range(40))
    else:
        data[place : place + 8] = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**40, 2**63, 2**64 - 1]))
    return bytes(data)


NAMES = (
    "../outside.txt", "/tmp/segkit-fuzz-outside.txt", "a/../../outside.txt", "x" * 300, "a/" * 400 + "x", "C:\\Users\\x.ipynb",
    "back\\slash.ipynb",
    "", "/", ".", "a//b", "\u202e.ipynb", "con.ipynb", "1_double.ipynb/inside.ipynb", "checkpoints", "1_double.ipynb",
    "nested/1_double.ipynb",
    "checkpoints.json", "\udcff.ipynb", "new\nline.ipynb",
)  # fmt: skip


def mutate_zip(rng: random.Random, files: dict[str, bytes]) -> bytes:
    """Pack files as a hostile or broken program would."""
    stream = io.BytesIO()
    names = list(files)
    with zipfile.ZipFile(stream, "w") as bundle:
        for name in names:
            info = zipfile.ZipInfo(name if rng.random() > 0.1 else rng.choice(NAMES).encode("utf-8", "replace").decode())
            info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            if rng.random() > 0.9:
                info.external_attr = rng.choice([0o120777, 0o020666, 0o010666, 0o040755]) << 16
            bundle.writestr(info, files[name])
            if rng.random() > 0.9:
                extra = zipfile.ZipInfo(rng.choice(NAMES).encode("utf-8", "replace").decode())
                bundle.writestr(extra, b"extra" if rng.random() > 0.5 else files[name])
    data = bytearray(stream.getvalue())
    for _ in range(rng.choice([0, 0, 1, 2])):  # a field of a header of one member: flags, method, times, sums, sizes
        mark, first, last = rng.choice([(b"PK\x03\x04", 4, 30), (b"PK\x01\x02", 4, 46)])
        places = [i for i in range(len(data) - 50) if data[i : i + 4] == mark]
        if places:
            where = rng.choice(places) + rng.randrange(first, last)
            data[where] = rng.choice([0, 1, 9, 0x7F, 0xFF, data[where] ^ 1])
    return mutate_bytes(rng, bytes(data)) if rng.random() > 0.7 else bytes(data)
