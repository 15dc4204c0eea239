"""Archives from the network: continued where they broke off, checked, and extracted whole or not at all."""

import hashlib
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ConnectionError, RequestException, Timeout
from urllib3.util import Retry

from distill.program import UserError, cause, log, progress

CHUNK = 1 << 16  # bytes; at most so many are lost where a connection breaks off
TIMEOUT = 60  # seconds without a byte
PATIENCE = 5  # attempts in a row that bring nothing
BUSY = (429, 500, 502, 503, 504)


def fetch(
    url: str,
    output: str | Path,
    checksum: str,
    size: int | None = None,
    pause: float = 1.0,
    algorithm: str = "md5",
) -> None:
    """Downloads a file, which is at its place only when it is complete.

    What has arrived is in .{name}.part beside it: where a connection broke off, also in an earlier run, the
    download goes on from there if the server can.

    url: of the file.
    output: its place.
    checksum: hexadecimal digits; of sha256 the first ones will do, which names of files often have.
    size: bytes; None: any.
    pause: seconds before the first retry, doubled after each attempt that brings nothing.
    algorithm: of the checksum, md5 or sha256.

    Raises UserError where the server refuses, cannot be reached, or has another file.
    """
    output = Path(output)
    part = output.with_name(f".{output.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    waits = Retry(total=PATIENCE, connect=0, read=0, backoff_factor=pause, status_forcelist=BUSY)
    idle = 0
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=waits))
        while True:
            before = part.stat().st_size
            try:
                _append(session, url, part, size)
                break
            except (ChunkedEncodingError, ConnectionError, Timeout) as error:
                idle = 0 if part.stat().st_size > before else idle + 1
                if idle == PATIENCE:
                    raise UserError(
                        f"{url}: cannot be read ({cause(error)}); run it again to go on"
                    ) from None
                log.info("%s: broke off at %d bytes, going on", output.name, part.stat().st_size)
                time.sleep(pause * 2**idle)
            except RequestException as error:
                raise UserError(f"{url}: {cause(error)}") from None
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not found.startswith(checksum):
        part.unlink()
        raise UserError(
            f"{url}: the {algorithm} is {found}, not {checksum}: damaged, or another file; it is removed"
        )
    os.replace(part, output)


def _append(session: requests.Session, url: str, part: Path, size: int | None) -> None:
    """Adds to `part` what is missing. Raises an exception of requests where the connection breaks off."""
    start = part.stat().st_size
    if start == size:
        return
    headers = {"Range": f"bytes={start}-"} if start else {}
    headers["Accept-Encoding"] = "identity"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing comes after `start`: complete, or not a part of this file
            if response.headers.get("Content-Range") != f"bytes */{start}":
                part.write_bytes(b"")
                raise ConnectionError(f"there are no {start} bytes; from the start again")
            return
        if not response.ok:
            raise UserError(f"{url}: the server says {response.status_code} {response.reason}")
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server cannot continue and sends all of it again
        rest = response.headers.get("Content-Length")
        total = size if rest is None else start + int(rest)
        if size not in (None, total):
            raise UserError(f"{url}: is {total} bytes, not {size}: not the file that is wanted")
        chunks = response.iter_content(CHUNK)
        with open(part, "r+b") as file:
            file.truncate(start)
            file.seek(start)
            for chunk in progress(chunks, -(-((total or start) - start) // CHUNK), f"{url}, in 64 KiB"):
                file.write(chunk)


def extract(archive: str | Path, folder: str | Path, names: Sequence[str]) -> None:
    """Takes files and folders out of a zip archive: all of them, once their checksums were right, or none.

    archive: ….zip.
    folder: where they are put, under their names in the archive.
    names: files, or folders with a slash at the end.

    Raises UserError where the archive is damaged or lacks one of the names, and where one is there already.
    """
    folder = Path(folder)
    if there := [path for name in names if (path := folder / name).is_file() or any(path.glob("*"))]:
        raise UserError(f"{there[0]}: is there already; take it away, or do not extract it")
    scratch = folder / f".{Path(archive).name}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            for name in names:
                inside = [
                    m for m in zipped.namelist() if m == name or (name.endswith("/") and m.startswith(name))
                ]
                if not any(not member.endswith("/") for member in inside):
                    raise UserError(f"{archive}: has no {name}")
                for member in progress(inside, len(inside), f"extracting {name}"):
                    zipped.extract(member, scratch)  # which removes .. and leading slashes from names
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch / name, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive}: is damaged ({error}); remove it, and download it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
