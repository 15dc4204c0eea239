"""Downloads against a real server on this machine that breaks off, refuses, or has another file."""

import hashlib
import io
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml

from distill.datasets.download import PATIENCE, extract, fetch
from distill.program import UserError
from helpers.workflow import lay_out, snakemake


class Server(ThreadingHTTPServer):
    """Serves `content` under every path. `breaks`: bytes after which each coming answer breaks off;
    `answers`: status codes to give first; `ranges`: whether it can continue. `seen`: the Range headers."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges = content, True
        self.breaks, self.answers, self.seen = [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/archive.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.seen.append(asked)
        if server.answers:
            self.send_error(server.answers.pop(0))
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        rest = server.content[start:]
        self.wfile.write(rest[: server.breaks.pop(0)] if server.breaks else rest)
        self.close_connection = True

    def log_message(self, *args):
        pass


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CONTENT = bytes(range(256)) * 20_000  # 5 MB: more than the chunks in which files are written
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(CONTENT)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


SIZE = len(CONTENT)


def get(server, path, size=SIZE):
    fetch(server.url, path, MD5, size, pause=0)


def test_broken_connections_are_taken_up_where_they_broke_off(server, tmp_path):
    server.breaks = [1_500_000, 2_000_000]
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    starts = [int(asked[6:-1]) if asked else 0 for asked in server.seen]
    assert len(starts) == 3
    assert 1_400_000 <= starts[1] <= 1_500_000 < 3_300_000 < starts[2] <= 3_500_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_later_run_goes_on(server, tmp_path):
    """Also where the first was killed: all that it leaves is the part."""
    (tmp_path / ".a.zip.part").write_bytes(CONTENT[:3_000_000])
    get(server, tmp_path / "a.zip")
    assert server.seen == ["bytes=3000000-"]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_part_that_is_complete_is_only_checked(server, tmp_path, size):
    (tmp_path / ".a.zip.part").write_bytes(CONTENT)
    get(server, tmp_path / "a.zip", size=size)
    assert server.seen == ([] if size else [f"bytes={SIZE}-"])
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_that_cannot_continue_starts_again(server, tmp_path):
    server.ranges, server.breaks = False, [2_500_000]
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / ".a.zip.part").write_bytes(CONTENT + b"more")
    get(server, tmp_path / "a.zip", size=None)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.answers = [503, 429]
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def refused(server, tmp_path, message, **options):
    with pytest.raises(UserError, match=message) as error:
        get(server, tmp_path / "a.zip", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.zip").exists()


def test_another_file_is_refused(server, tmp_path):
    refused(server, tmp_path, "is 5120000 bytes, not 99: not the file that is wanted", size=99)
    assert not (tmp_path / ".a.zip.part").read_bytes(), "refused before anything is fetched"
    server.content = CONTENT[::-1]
    refused(server, tmp_path, f"the md5 is .*, not {MD5}")
    assert not (tmp_path / ".a.zip.part").exists()
    server.content = CONTENT  # nothing of the wrong file is in the way
    get(server, tmp_path / "a.zip")


def test_the_beginning_of_a_sha256_will_do(server, tmp_path):
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    with pytest.raises(UserError, match=f"the sha256 is {digits}.*, not 01234567"):
        fetch(server.url, tmp_path / "a.pth", "01234567", pause=0, algorithm="sha256")
    fetch(server.url, tmp_path / "a.pth", digits, pause=0, algorithm="sha256")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_damaged_part_is_refused_and_then_fetched_anew(server, tmp_path):
    (tmp_path / ".a.zip.part").write_bytes(b"x" * 1000)
    refused(server, tmp_path, "the md5 is")
    get(server, tmp_path / "a.zip")
    assert server.seen == ["bytes=1000-", None]


def test_a_server_that_refuses_or_never_gives_anything_is_one_clear_line(server, tmp_path):
    server.answers = [404]
    refused(server, tmp_path, "the server says 404 Not Found")
    assert len(server.seen) == 1
    server.breaks = [0] * PATIENCE
    refused(server, tmp_path, "cannot be read .* run it again to go on")
    assert len(server.seen) == 1 + PATIENCE


def test_only_what_is_wanted_is_extracted(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(**{"ann/a.json": b"a", "ann/b.json": b"b", "im/1.jpg": b"1", "im/x/2.jpg": b"2"}))
    (tmp_path / "im").mkdir()
    extract(path, tmp_path, ["im/", "ann/b.json"])
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["a.zip", "ann/b.json", "im/1.jpg", "im/x/2.jpg"]
    assert (tmp_path / "im/x/2.jpg").read_bytes() == b"2"
    for names in (["ann/a.json", "im/"], ["ann/b.json"]):
        with pytest.raises(UserError, match=f"{names[-1].rstrip('/')}: is there already"):
            extract(path, tmp_path, names)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == found


@pytest.mark.parametrize(
    ("names", "damage", "message"),
    [
        (["ann/", "im/"], lambda data: data, "a.zip: has no im/"),
        (["ann/"], lambda data: data[:-40], "a.zip: is damaged"),
        (["ann/"], lambda data: data.replace(b"ann/b", b"ANN/b", 1), "a.zip: is damaged"),
        (["ann/"], lambda data: data[:60] + bytes(60) + data[120:], "a.zip: is damaged"),
    ],
    ids=["missing", "cut off", "renamed", "overwritten"],
)
def test_a_bad_archive_leaves_nothing(tmp_path, names, damage, message):
    path = tmp_path / "a.zip"
    text = " ".join(map(str, range(200))).encode()
    path.write_bytes(damage(zipped(**{"ann/a.json": text, "ann/b.json": text})))
    with pytest.raises(UserError, match=message):
        extract(path, tmp_path, names)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_names_that_lead_out_of_the_folder_stay_inside(tmp_path):
    path = tmp_path / "data/a.zip"
    path.parent.mkdir()
    path.write_bytes(zipped(**{"im/../../../evil": b"!", "im/1.jpg": b"1"}))
    extract(path, path.parent, ["im/"])
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["1.jpg", "a.zip", "evil"]
    assert not (tmp_path / "evil").exists()


STUDY = """
results: out
data: data
model: faster_rcnn_tiny
datasets:
  labelled: {kind: coco, images: train, annotations: annotations/train.json}
  unlabelled: {kind: folder, images: more}
  val: {kind: figures, images: 3}
"""


def test_nothing_is_downloaded_unless_asked_for(server, tmp_path):
    image = np.random.default_rng(0).bytes(200_000)
    files = {"train/1.jpg": image, "annotations/train.json": b"{}", "annotations/no.json": b"{}"}
    server.content = zipped(**files)
    server.breaks = [100_000]
    archive = {"url": server.url, "md5": hashlib.md5(server.content).hexdigest(), "size": len(server.content)}
    archive["contents"] = ["train/", "annotations/train.json"]
    study = yaml.safe_load(STUDY) | {"downloads": {"all": archive}}
    lay_out(tmp_path, study)
    missing = snakemake(tmp_path, "--cores", "1", "--show-failed-logs", "out/datasets/labelled.json")
    assert missing.returncode == 1
    output = missing.stdout + missing.stderr
    assert "error: dataset labelled: data/annotations/train.json: no such file" in output
    assert "archive" not in output
    assert not server.seen

    done = snakemake(tmp_path, "--cores", "1", "--", "download")
    assert done.returncode == 0, done.stderr
    assert server.seen == [None, f"bytes={1 << 16}-"]
    found = {str(p.relative_to(tmp_path / "data")) for p in (tmp_path / "data").rglob("*") if p.is_file()}
    assert found - {"train/.snakemake_timestamp"} == {"annotations/train.json", "train/1.jpg"}
    again = snakemake(tmp_path, "--cores", "1", "--", "download")
    assert "Nothing to be done" in again.stdout + again.stderr
    assert len(server.seen) == 2

    # What is missing is fetched again; what lies beside it, and may be somebody's, stays.
    (tmp_path / "data/annotations/train.json").unlink()
    (tmp_path / "data/train/own.jpg").touch()
    more = snakemake(tmp_path, "--cores", "1", "--", "download")
    assert more.returncode == 0, more.stderr
    assert (tmp_path / "data/annotations/train.json").exists()
    assert (tmp_path / "data/train/own.jpg").exists()
