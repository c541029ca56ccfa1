"""Fetches files over HTTP, and hashes them.

An interrupted download continues where it stopped; a file gets its final name only when it is complete and checked.
"""

import errno
import hashlib
import http.client
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from segkit.atomic import move_over
from segkit.progress import bar

__all__ = ["DownloadError", "download_file", "hash_file"]

CHUNK = 1 << 18
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 3
UNKNOWN_CERTIFICATE = """
  This Python does not know the server's certificate. On a Mac, with Python from python.org: run "Install Certificates.command" in
  Applications/Python, once. In a network that reads along (a company's, a virus scanner's): name its certificate in SSL_CERT_FILE."""


class DownloadError(RuntimeError):
    """Something could not be fetched or is not what it should be; the text says what to do."""


def hash_file(path: Path) -> str:
    """sha256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_file(url: str, path: Path, *, sha256_prefix: str = "", progress: bool = True) -> Path:
    """Downloads one file; a broken connection is taken up again where it stopped, also by a later call.

    Until it is whole, the file is called ``path`` with ``.part`` at its end.

    Args:
        url: where it is.
        path: where it goes; a file that is already there is left alone.
        sha256_prefix: the first hex digits of the sha256 that it must have; empty: any.
        progress: show a bar.

    Raises:
        DownloadError: no connection, no room, or not the right file.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(url, part, progress)
            break
        except (urllib.error.HTTPError, urllib.error.URLError, OSError, http.client.HTTPException) as error:
            _clear_if_full(error, part)
            gone = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if gone or attempt == ATTEMPTS:
                raise DownloadError(_no_connection(url, path, part, error)) from error
    found = hash_file(part) if sha256_prefix else ""
    if not found.startswith(sha256_prefix):
        part.unlink()
        raise DownloadError(
            f"{url}: the file came complete, but it is another one: expected a sha256 that starts with "
            f"{sha256_prefix}, found {found[: max(8, len(sha256_prefix))]}. It was deleted. Try again; if it "
            f"stays so, the server has changed the file, or something on the way (a login page?) answers for it."
        )
    move_over(part, path)
    return path


def _receive(url: str, part: Path, progress: bool) -> None:
    """One connection: appends to ``part`` what is missing. Raises OSError if the connection ends early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "segkit"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if whole == str(have):  # all bytes are here already; only the last step was missing
            return
        part.unlink()
        raise ConnectionError(f"the part on disk ({have} bytes) does not fit the file on the server") from error
    with response:
        if response.status != 206:  # the server sends the whole file, so start from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        _demand_room(part, total, have)
        with (
            open(part, "ab" if have else "wb") as file,
            bar(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, show=progress) as shown,
        ):
            while block := response.read(CHUNK):
                file.write(block)
                shown.update(len(block))
    received = part.stat().st_size
    if total is not None and received != total:
        raise ConnectionError(f"the connection ended after {received} of {total} bytes")


def _demand_room(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(errno.ENOSPC, f"{total - have} bytes are needed, {free} are free")


def _clear_if_full(error: BaseException, part: Path) -> None:
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return
    part.unlink(missing_ok=True)
    raise DownloadError(
        f"No room on the disk for {part.with_suffix('')} ({error}). What had come was deleted. "
        "Make room, or name a folder on another disk, and start again."
    ) from error


def _no_connection(url: str, path: Path, part: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.reason}"
    got = part.stat().st_size if part.exists() else 0
    if isinstance(reason, ssl.SSLCertVerificationError):
        reason = f"{reason}.{UNKNOWN_CERTIFICATE}".removesuffix(".")
    kept = f"\n  {got / 1e6:.1f} MB have come and are kept: the same command goes on from there." if got else ""
    return (
        f"Could not download {path.name}: {reason}.{kept}\n"
        f"  Without a network on this machine: download {url} elsewhere (a browser will do), put it at\n"
        f"  {path.resolve()}\n"
        f"  and run the same command again."
    )
