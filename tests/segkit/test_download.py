"""Downloads from a server on this machine: interruptions, damage, full disks. Nothing goes to the network."""

import errno
import http.server
import io
import ssl
import threading
import urllib.error
import zipfile
from collections.abc import Iterator
from pathlib import Path

import facade_files
import pytest

from segkit import download
from segkit.datasets.facades import archives
from segkit.datasets.facades.archives import check_part, fetch, unpack
from segkit.download import DownloadError, download_file


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; the next ``cuts`` answers break off after ``cut_at`` bytes."""

    files: dict[str, bytes] = {}
    cuts = 0
    cut_at = 0
    ranges = True
    requests: list[str | None]

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(body[start : start + self.server.cut_at])
            self.close_connection = True
            return
        self.wfile.write(body[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = facade_files.make_files()
    facade_files.shrink_database(monkeypatch, files)
    return files


@pytest.fixture
def site(server: Server, files: dict[str, bytes]) -> Server:
    server.files = {name: facade_files.zipped(files, part) for part, name in archives.ARCHIVES.items()}
    return server


BODY = bytes(range(256)) * 4000  # about 1 MB


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_whole_file_arrives_under_its_final_name(server: Server, tmp_path: Path) -> None:
    server.files = {"f.bin": BODY}
    assert download_file(server.home + "f.bin", tmp_path / "new" / "f.bin", progress=False).read_bytes() == BODY
    assert below(tmp_path) == ["new", "new/f.bin"]


def test_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files, server.cuts, server.cut_at = {"f.bin": BODY}, 2, 300_000
    download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False)
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]


def test_what_came_is_kept_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.files, server.cuts, server.cut_at = {"f.bin": BODY}, 3, 100_000
    with pytest.raises(DownloadError, match=r"ended after 300000 of 1024000 bytes.*\n.*0\.3 MB have come and are kept"):
        download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False)
    assert below(tmp_path) == ["f.bin.part"]
    download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False)
    assert server.requests[-1] == "bytes=300000-"
    assert (tmp_path / "f.bin").read_bytes() == BODY and below(tmp_path) == ["f.bin"]


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.files, server.ranges = {"f.bin": BODY}, False
    (tmp_path / "f.bin.part").write_bytes(b"x" * 1000)
    assert download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False).read_bytes() == BODY


def test_a_part_that_is_complete_only_gets_its_name(server: Server, tmp_path: Path) -> None:
    server.files = {"f.bin": BODY}
    (tmp_path / "f.bin.part").write_bytes(BODY)
    assert download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.files = {"f.bin": BODY}
    (tmp_path / "f.bin.part").write_bytes(BODY + b"more")
    assert download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False).read_bytes() == BODY


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files = {"f.bin": BODY}
    with pytest.raises(DownloadError, match="starts with 00000000, found [0-9a-f]{8}\\."):
        download_file(server.home + "f.bin", tmp_path / "f.bin", sha256_prefix="00000000", progress=False)
    assert below(tmp_path) == []


def test_no_network_says_what_to_get_and_where_to_put_it(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/CMP_facade_DB_base.zip"  # nobody listens on the discard port
    with pytest.raises(DownloadError) as caught:
        download_file(url, tmp_path / "CMP_facade_DB_base.zip", progress=False)
    for part in (url, str(tmp_path / "CMP_facade_DB_base.zip"), "refused", "run the same command again"):
        assert part in str(caught.value)


def test_not_found_is_not_tried_three_times(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        download_file(server.home + "gone.zip", tmp_path / "gone.zip", progress=False)
    assert len(server.requests) == 1


# pytorch/pytorch#33288, pytorch/vision#5311
def test_a_certificate_that_this_python_does_not_know_is_no_missing_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate"
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, said))

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        download_file("https://example.org/f.zip", tmp_path / "f.zip", progress=False)
    told = str(caught.value)
    assert "Install Certificates.command" in told and "SSL_CERT_FILE" in told and "put it at" in told and ".." not in told


def test_the_bar_of_a_download_is_one_that_a_saved_notebook_keeps(server, tmp_path, capsys):
    """Letters on stdout: a widget is an error in a notebook that is opened again, and red is for errors."""
    server.files["f.bin"] = BODY
    download_file(server.home + "f.bin", tmp_path / "f.bin")
    out, err = capsys.readouterr()
    assert "100%" in out and err == ""


class FullDisk:
    """A file on a disk that takes 1000 bytes."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "wb")  # noqa: SIM115

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_during_the_download_leaves_nothing(server: Server, tmp_path: Path, monkeypatch) -> None:
    server.files = {"f.bin": BODY}
    monkeypatch.setattr(download, "open", lambda path, mode: FullDisk(path), raising=False)
    with pytest.raises(DownloadError, match="No room on the disk .*Make room"):
        download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False)
    assert below(tmp_path) == []


def test_too_little_room_is_noticed_before_the_first_byte(server: Server, tmp_path: Path, monkeypatch) -> None:
    server.files = {"f.bin": BODY}
    usage = type("Usage", (), {"free": 500_000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="1024000 bytes are needed, 500000 are free"):
        download_file(server.home + "f.bin", tmp_path / "f.bin", progress=False)
    assert below(tmp_path) == []


def test_fetch_downloads_unpacks_checks_and_tidies_up(site: Server, files: dict, tmp_path: Path) -> None:
    lines = fetch(tmp_path, home=site.home, progress=False)
    assert [line.split(":")[0] for line in lines] == ["base", "extended"]
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("cmp_*")} == set(files)
    assert (tmp_path / "readme.txt").is_file()
    assert not [path for path in below(tmp_path) if path.endswith((".zip", ".part")) or path.startswith(".")]
    assert all((tmp_path / path).read_bytes() == content for path, content in files.items())


def test_fetching_again_asks_nobody(site: Server, tmp_path: Path) -> None:
    fetch(tmp_path, ("base",), home=site.home, progress=False)
    asked = len(site.requests)
    assert "nothing to do" in fetch(tmp_path, ("base",), home=site.home, progress=False)[0]
    assert len(site.requests) == asked


def test_a_damaged_folder_is_fetched_again(site: Server, files: dict, tmp_path: Path) -> None:
    fetch(tmp_path, ("base",), home=site.home, progress=False)
    (tmp_path / "base" / "cmp_b0002.png").write_bytes(b"rubbish")
    fetch(tmp_path, ("base",), home=site.home, progress=False)
    assert (tmp_path / "base" / "cmp_b0002.png").read_bytes() == files["base/cmp_b0002.png"]


def test_archive_put_there_by_hand_is_used_and_kept(files: dict, tmp_path: Path) -> None:
    (tmp_path / "CMP_facade_DB_base.zip").write_bytes(facade_files.zipped(files, "base"))
    fetch(tmp_path, ("base",), home="http://127.0.0.1:9/", progress=False)
    assert (tmp_path / "base" / "cmp_b0003.xml").is_file()
    assert (tmp_path / "CMP_facade_DB_base.zip").is_file()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "scrambled", "login page"])
def test_damaged_archive_is_refused_and_nothing_unpacked(files: dict, tmp_path: Path, damage: str) -> None:
    data = bytearray(facade_files.zipped(files, "base"))
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[2000] ^= 0xFF
    elif damage == "scrambled":
        data[100:3000] = bytes(2900)
    else:
        data = bytearray(b"<html>Please log in</html>")
    archive = tmp_path / "a.zip"
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match="expected a complete zip archive, found a damaged one"):
        unpack(archive, tmp_path / "root", "base", progress=False)
    assert not (tmp_path / "root" / "base").exists() and below(tmp_path / "root") == []


def test_login_page_in_place_of_the_archive_does_not_block_the_next_try(site: Server, tmp_path: Path) -> None:
    good = site.files["CMP_facade_DB_base.zip"]
    site.files["CMP_facade_DB_base.zip"] = b"<html>Please log in</html>"
    with pytest.raises(DownloadError, match="expected a complete zip archive"):
        fetch(tmp_path, ("base",), home=site.home, progress=False)
    site.files["CMP_facade_DB_base.zip"] = good
    fetch(tmp_path, ("base",), home=site.home, progress=False)
    assert check_part(tmp_path, "base", progress=False) == []


def test_members_cannot_leave_the_folder(files: dict, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            if path.startswith("base/"):
                archive.writestr("../../" + path, content)
        archive.writestr("../evil.txt", "evil")
        archive.writestr("/tmp/segkit-evil.jpg", "evil")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    unpack(tmp_path / "a.zip", tmp_path / "deep" / "root", "base", progress=False)
    assert below(tmp_path / "deep")[:2] == ["root", "root/base"]
    assert not list(tmp_path.rglob("*evil*")) and not Path("/tmp/segkit-evil.jpg").exists()


def test_a_bomb_is_not_unpacked(files: dict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 100)
    (tmp_path / "a.zip").write_bytes(facade_files.zipped(files, "base"))
    with pytest.raises(DownloadError, match="would have"):
        unpack(tmp_path / "a.zip", tmp_path / "root", "base", progress=False)


def test_another_archive_is_refused_unless_told_otherwise(files: dict, tmp_path: Path) -> None:
    changed = dict(files, **{"base/cmp_b0002.jpg": files["base/cmp_b0001.jpg"]})
    del changed["base/cmp_b0003.xml"]
    (tmp_path / "a.zip").write_bytes(facade_files.zipped(changed, "base"))
    with pytest.raises(DownloadError) as caught:
        unpack(tmp_path / "a.zip", tmp_path / "root", "base", progress=False)
    assert "(2 differences)" in str(caught.value)
    assert "base/cmp_b0002.jpg: sha256 differs" in str(caught.value)
    assert "base/cmp_b0003.xml: missing" in str(caught.value)
    assert below(tmp_path / "root") == []
    unpack(tmp_path / "a.zip", tmp_path / "root", "base", progress=False, check=False)
    assert (tmp_path / "root" / "base" / "cmp_b0002.jpg").is_file()


def test_full_disk_during_unpacking_leaves_nothing(files: dict, tmp_path: Path, monkeypatch) -> None:
    def full(source, sink) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.zip").write_bytes(facade_files.zipped(files, "base"))
    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(DownloadError, match="No space left on device. Nothing was left behind"):
        unpack(tmp_path / "a.zip", tmp_path / "root", "base", progress=False)
    assert below(tmp_path / "root") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda f: f.pop("extended/cmp_x0002.xml"), "extended/cmp_x0002.xml: missing"),
        (
            lambda f: f.update({"extended/cmp_x0001.png": facade_files.png(facade_files.np.zeros((32, 48), "u1"))}),
            "expected ids 1..12, found 0..0",
        ),
        (
            lambda f: f.update({"extended/cmp_x0001.png": facade_files.png(facade_files.np.ones((48, 32), "u1"))}),
            r"expected the size of the jpg \(48, 32\), found \(32, 48\)",
        ),
        (
            lambda f: f.update({"extended/cmp_x0001.png": facade_files.encoded(facade_files.Image.new("RGB", (48, 32)), "PNG")}),
            "mode P.*found mode RGB",
        ),
        (lambda f: f.update({"extended/cmp_x0001.jpg": f["extended/cmp_x0001.jpg"][:500]}), "damaged"),
    ],
)
def test_extended_part_is_counted_and_looked_into(files: dict, tmp_path: Path, change, fault: str) -> None:
    facade_files.lay_out(tmp_path, files)
    assert check_part(tmp_path, "extended", progress=False) == []
    change(files)
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    facade_files.lay_out(tmp_path, files)
    faults = check_part(tmp_path, "extended", progress=False)
    assert len(faults) == 1
    with pytest.raises(DownloadError, match=fault):
        raise DownloadError(faults[0])


def test_manifest_lists_the_base_part() -> None:
    manifest = archives.read_manifest()
    assert len(manifest) == 1134
    assert list(manifest)[:3] == ["base/cmp_b0001.jpg", "base/cmp_b0001.png", "base/cmp_b0001.xml"]
    assert all(len(digest) == 64 for digest in manifest.values())
    assert len(archives.part_names("base")) == 378 and len(archives.part_names("extended")) == 228


def test_manifest_fits_the_real_files(cmp_root: Path) -> None:
    assert check_part(cmp_root, "base", progress=False) == []
