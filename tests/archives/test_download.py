"""Against a real server on this machine that does all that servers do wrong."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmcl.archives import download as module
from mmcl.archives import verify
from mmcl.archives.download import Place, Source, download, extract
from mmcl.archives.generate import Recipe, generate
from mmcl.errors import UserError
from tests.conftest import ROOT

DATA = bytes(range(256)) * 9000  # 2.3 MB
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """``cut``: connections to end early, after so many bytes each; ``said``: what the length is said to be."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cut, self.ranges, self.said, self.status, self.asked = DATA, [], True, None, None, []
        self.tagged, self.chunked = True, False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/m3di.tar.gz"

    @property
    def tag(self):
        return f'"{hashlib.md5(self.data).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        self.close_connection = True
        if server.status:
            self.send_error(server.status)
            return
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if self.headers.get("If-Range") not in (None, server.tag):
            start = 0
        if start and start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.data[start:]
        sent = body[: server.cut.pop(0)] if server.cut else body
        self.send_response(206 if start else 200)
        if server.tagged:
            self.send_header("ETag", server.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(body) + sent + (b"\r\n0\r\n\r\n" if sent is body else b""))
            return
        if server.said != "nothing":
            self.send_header("Content-Length", str(len(body) if server.said is None else server.said))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def get(server, folder, checksum=None, **how):
    return download(Source(server.url, checksum), folder, pause=0.001, **how)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "set"


@pytest.mark.parametrize("checksum", [f"sha256:{SHA}", f"MD5:{hashlib.md5(DATA).hexdigest().upper()}"])
def test_a_file_with_a_known_sum(server, folder, checksum):
    seen = []
    file = get(server, folder, checksum, progress=lambda done, total: seen.append((done, total)))
    assert file == folder.parent / "set.download" / "archive"
    assert file.read_bytes() == DATA
    assert names(file.parent) == ["archive", "source.json"]
    assert (seen[0], seen[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))
    get(server, folder, checksum)
    assert server.asked == [None]  # what is there is not asked for again


def test_a_cut_connection_goes_on_where_it_was_cut(server, folder):
    server.cut = [1000, 0, 2_000_000]
    assert get(server, folder, f"sha256:{SHA}").read_bytes() == DATA
    assert server.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=2001000-"]


@pytest.mark.parametrize("how", ["ranges", "tagged"])
def test_a_server_without_ranges_or_tags_begins_again(server, folder, how):
    server.cut = [1000]
    setattr(server, how, False)
    assert get(server, folder, f"sha256:{SHA}").read_bytes() == DATA


def test_another_file_by_now_is_begun_again(server, folder):
    server.cut = [1000] + [0] * module.ATTEMPTS
    with pytest.raises(UserError):
        get(server, folder)
    server.data = DATA[::-1]
    assert get(server, folder).read_bytes() == DATA[::-1]


def test_one_that_never_comes_keeps_its_part_for_the_same_command(server, folder):
    server.cut = [1000] + [0] * module.ATTEMPTS
    with pytest.raises(
        UserError, match="the connection was cut, 5 times; what has come is kept, and the same command"
    ):
        get(server, folder)
    assert names(Place(folder).home) == ["archive.part", "source.json"]
    assert get(server, folder).read_bytes() == DATA
    assert server.asked[-1] == "bytes=1000-"


def test_a_part_that_is_whole_already_is_taken(server, folder):
    get(server, folder).rename(Place(folder).part)
    assert get(server, folder).read_bytes() == DATA
    assert server.asked == [None, f"bytes={len(DATA)}-"]


def test_a_wrong_byte_is_refused_and_deleted(server, folder):
    server.data = DATA[:500] + b"x" + DATA[501:]
    said = rf"its sha256 is [0-9a-f]{{64}}, must be {SHA} \(as you gave it\); what came was deleted"
    with pytest.raises(UserError, match=said):
        get(server, folder, f"sha256:{SHA}")
    assert names(Place(folder).home) == ["source.json"]
    server.data = DATA
    assert get(server, folder, f"sha256:{SHA}").read_bytes() == DATA


def test_a_part_that_is_longer_than_the_file_begins_again(server, folder):
    get(server, folder).unlink()
    Place(folder).part.write_bytes(b"z" * (len(DATA) + 5))
    assert get(server, folder, f"sha256:{SHA}").read_bytes() == DATA


@pytest.mark.parametrize("said", [len(DATA) + 10, "chunked"])
def test_what_was_cut_never_counts_as_whole(server, folder, said):
    server.ranges = False
    if said == "chunked":
        server.chunked, server.cut = True, [1000] * 9
    else:
        server.said = said
    with pytest.raises(UserError, match=r"(cut|more expected)"):
        get(server, folder)
    assert not Place(folder).file.exists()


def test_a_server_that_does_not_say_the_length(server, folder):
    server.said = "nothing"
    assert get(server, folder).read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "the server says 404 Not Found; check the address"),
        (503, "503 Service Unavailable, 5 times; nothing has come"),
    ],
)
def test_a_servers_refusal(server, folder, status, said):
    server.status = status
    with pytest.raises(UserError, match=said):
        get(server, folder)
    assert names(Place(folder).home) == []
    assert len(server.asked) == (1 if status == 404 else module.ATTEMPTS)


def test_no_network_and_no_address(folder):
    with pytest.raises(UserError, match="refused, 5 times; nothing has come"):
        download(Source("http://127.0.0.1:9/a"), folder, pause=0.001)
    with pytest.raises(UserError, match="must begin with http"):
        download(Source("ftp://127.0.0.1:9/a"), folder, pause=0.001)


def test_a_full_disk_is_seen_before(server, folder, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"needs 0\.00 GiB in .*, where 0\.00 are free; free some"):
        get(server, folder)
    assert names(Place(folder).home) == []


def test_a_download_of_another_url_is_left_alone(server, folder):
    file = get(server, folder)
    with pytest.raises(
        UserError, match=r"set\.download: holds what came from http.*; remove it, or name another folder"
    ):
        download(Source("http://127.0.0.1:9/other"), folder)
    assert file.read_bytes() == DATA
    for damaged, said in (("{", "no JSON"), ("[]", "not what mmcl data download writes")):
        Place(folder).record.write_text(damaged)
        with pytest.raises(UserError, match=f"source.json: {said}.*remove .*set.download to begin again"):
            get(server, folder)


@pytest.mark.parametrize("checksum", ["sha1:abc", "sha256:12", "sha256:", f"sha256:{'x' * 64}", "abc", ""])
def test_a_checksum_that_is_none(server, folder, checksum):
    with pytest.raises(ValueError, match="checksum="):
        get(server, folder, checksum)
    assert server.asked == []


def pack(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content, *kind in members:
            member = tarfile.TarInfo(name)
            if kind:
                member.type, member.linkname = kind[0], "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("around", ["", "m3di/", "./"])
def test_a_miniature_archive_comes_through_a_server(server, tmp_path, around):
    made = tmp_path / "made"
    assert generate(made, Recipe(pairs={"train": 5, "val": 3}, size=12, samples=1), processes=1)
    files = [p for p in sorted(made.rglob("*")) if p.is_file()]
    pack(
        tmp_path / "a.tar.gz", [(f"{around}{p.relative_to(made).as_posix()}", p.read_bytes()) for p in files]
    )
    server.data = (tmp_path / "a.tar.gz").read_bytes()
    file = get(server, tmp_path / "there")
    extract(file, tmp_path / "there")
    assert verify(tmp_path / "there") == ({"train": 5, "val": 3}, [])
    with pytest.raises(UserError, match="is there already; remove it"):
        extract(file, tmp_path / "there")
    # The first that could be unpacked gives the sum.
    sha = hashlib.sha256(server.data).hexdigest()
    assert json.loads(Place(tmp_path / "there").record.read_text())["sha256"] == sha
    file.unlink()
    server.data += b"more"
    with pytest.raises(UserError, match=rf"must be {sha} \(as .*source\.json has it from the first time\)"):
        get(server, tmp_path / "there")


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../evil", b"x"), "would lie outside"),
        (("train/../../evil", b"x"), "would lie outside"),
        (("/tmp/evil", b"x"), "would lie outside"),
        (("..\\evil", b"x"), "would lie outside"),
        (("train/link", b"", tarfile.SYMTYPE), "is a link or no file"),
        (("train/link", b"", tarfile.LNKTYPE), "is a link or no file"),
        (("train/pipe", b"", tarfile.FIFOTYPE), "is a link or no file"),
        (("C:/evil", b"x"), "would lie outside"),
        (("train/good/more", b"x"), "is a file and a folder"),
        (("train", b"x"), "is a file and a folder"),
    ],
)
def test_a_member_that_does_not_belong_there_stops_all(tmp_path, member, said):
    pack(tmp_path / "a.tar.gz", [("train/good", b"good"), member])
    with pytest.raises(UserError, match=said):
        extract(tmp_path / "a.tar.gz", tmp_path / "there")
    assert names(tmp_path) == ["a.tar.gz"]


def test_a_damaged_or_other_archive_leaves_nothing(tmp_path):
    noise = random.Random(0).randbytes(4000)
    pack(tmp_path / "a.tar.gz", [(f"train/{i}", noise) for i in range(20)])
    whole = (tmp_path / "a.tar.gz").read_bytes()
    flipped = [bytearray(whole) for _ in range(8)]
    for k, data in enumerate(flipped):
        data[len(data) * (k + 1) // 10] ^= 4
    for damaged in (whole[: len(whole) // 2], b"<html>not\nfound</html>", b"", *flipped):
        (tmp_path / "a.tar.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="damaged") as caught:
            extract(tmp_path / "a.tar.gz", tmp_path / "there")
        assert "\n" not in str(caught.value)
        assert names(tmp_path) == ["a.tar.gz"]
    pack(tmp_path / "a.tar.gz", [("music/song", b"la")])
    with pytest.raises(UserError, match="holds no folder train, val, test"):
        extract(tmp_path / "a.tar.gz", tmp_path / "there")
    assert names(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_an_archive_cut_between_two_members_is_damaged(tmp_path, keep):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(20):
            member = tarfile.TarInfo(f"train/{i}")
            member.size = 512
            tar.addfile(member, io.BytesIO(b"x" * 512))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: int(20 * keep) * 1024])
    with pytest.raises(UserError, match="damaged"):
        extract(tmp_path / "a.tar", tmp_path / "there")
    assert names(tmp_path) == ["a.tar"]


def test_the_command(server, tmp_path, cli):
    pack(tmp_path / "a.tar.gz", [("set/train/latents_image.csv", b"x"), ("set/test/latents_image.csv", b"x")])
    server.data = (tmp_path / "a.tar.gz").read_bytes()
    folder = tmp_path / "new" / "set"
    result = cli("mmcl", "data", "download", server.url, str(folder))
    said = f"{folder}: unpacked; mmcl data verify {folder} reads all of it. {folder}.download/archive may go"
    assert (result.code, result.out.splitlines()[-1]) == (0, said)
    assert names(folder) == ["test", "train"]
    result = cli("mmcl", "data", "download", server.url, str(folder))
    assert (result.code, "is there already" in result.err, result.err.count("\n")) == (1, True, 1)
    result = cli("mmcl", "data", "download", "imagenet", str(folder))
    assert (result.code, result.err) == (1, "error: imagenet: neither a URL nor one of multimodal3dident\n")


@pytest.mark.slow
def test_an_archive_as_published_is_downloaded_verified_learned_from_and_evaluated(server, tmp_path):
    """In the published layout, without our manifest and sums."""

    def call(*words):
        there = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=there, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = tmp_path / "made"
    assert generate(made, Recipe(pairs={"train": 300, "val": 60, "test": 60}, size=32), processes=1)
    files = [p for p in sorted(made.rglob("*")) if p.suffix in (".png", ".csv", ".txt")]
    pack(tmp_path / "a.tar.gz", [(f"m3di/{p.relative_to(made).as_posix()}", p.read_bytes()) for p in files])
    server.data = (tmp_path / "a.tar.gz").read_bytes()
    server.cut = [len(server.data) // 2]
    call("-m", "mmcl", "data", "download", server.url, "data/smoke")
    said = call("-m", "mmcl", "data", "verify", "data/smoke")
    assert said.splitlines() == [
        "data/smoke: "
        + "; ".join(
            f"object color depends on object xpos: 1.00 of the rows of {split} are in its third, by chance 0.33"
            for split in ("train", "val", "test")
        ),
        "data/smoke: whole; 300 train, 60 val, 60 test pairs",
    ]
    call(str(ROOT / "train.py"), "experiment=image_text/smoke", "evaluation.pictures=0")
    (run,) = tmp_path.glob("runs/image_text/smoke/*")
    # Unpacked once more, its files have other times, and are the same pairs.
    shutil.rmtree(tmp_path / "data")
    call("-m", "mmcl", "data", "download", server.url, "data/smoke")
    said = call(str(ROOT / "evaluate.py"), f"run_dir={run}")
    assert "results.csv: reproduced exactly" in " ".join(said.split())
