"""Against a real server on this machine that does all that servers do wrong."""

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmcl.archives import download as module
from mmcl.archives import verify
from mmcl.archives.download import Source, download, extract
from mmcl.archives.generate import Recipe, generate
from mmcl.errors import UserError

DATA = bytes(range(256)) * 9000  # 2.3 MB
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """``cut``: connections to end early, after so many bytes each; ``said``: what the length is said to be."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cut, self.ranges, self.said, self.status, self.asked = DATA, [], True, None, None, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/m3di.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if start and start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("Content-Length", str(len(body) if server.said is None else server.said))
        self.end_headers()
        self.wfile.write(body[: server.cut.pop(0)] if server.cut else body)

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


def get(server, path, checksum=None, **how):
    download(Source(server.url, checksum), path, pause=0.001, **how)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [f"sha256:{SHA}", f"md5:{hashlib.md5(DATA).hexdigest()}"])
def test_a_file_with_a_known_sum(server, tmp_path, checksum):
    seen = []
    get(server, tmp_path / "a", checksum, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "a").read_bytes() == DATA
    assert names(tmp_path) == ["a"]
    assert (seen[0], seen[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))
    get(server, tmp_path / "a", checksum)
    assert server.asked == [None]  # what is there is not asked for again


def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path):
    server.cut = [1000, 0, 2_000_000]
    get(server, tmp_path / "a", f"sha256:{SHA}")
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=2001000-"]


def test_a_server_that_knows_no_ranges_begins_again(server, tmp_path):
    server.cut, server.ranges = [1000], False
    get(server, tmp_path / "a", f"sha256:{SHA}")
    assert (tmp_path / "a").read_bytes() == DATA


def test_one_that_never_comes_keeps_its_part_for_the_same_command(server, tmp_path):
    server.cut = [1000] + [0] * module.ATTEMPTS
    with pytest.raises(
        UserError, match="the connection was cut, 5 times; what has come is kept, and the same command"
    ):
        get(server, tmp_path / "a")
    assert names(tmp_path) == ["a.part"]
    get(server, tmp_path / "a")
    assert server.asked[-1] == "bytes=1000-"
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_wrong_byte_is_refused_and_deleted(server, tmp_path):
    server.data = DATA[:500] + b"x" + DATA[501:]
    with pytest.raises(
        UserError, match=f"its sha256 is [0-9a-f]{{64}}, must be {SHA}; what came was deleted"
    ):
        get(server, tmp_path / "a", f"sha256:{SHA}")
    assert names(tmp_path) == []


def test_without_a_sum_the_first_download_gives_it(server, tmp_path):
    get(server, tmp_path / "a")
    assert json.loads((tmp_path / "a.sum.json").read_text()) == {"url": server.url, "sha256": SHA}
    (tmp_path / "a").unlink()
    server.data = DATA + b"more"
    with pytest.raises(UserError, match=f"must be {SHA}"):
        get(server, tmp_path / "a")
    assert names(tmp_path) == ["a.sum.json"]
    server.data = DATA
    get(server, tmp_path / "a")
    (tmp_path / "a").write_bytes(b"changed on the disk")
    with pytest.raises(UserError, match=r"a: its sha256 is .*; remove it to download it again"):
        get(server, tmp_path / "a")


def test_a_part_that_is_longer_than_the_file_begins_again(server, tmp_path):
    (tmp_path / "a.part").write_bytes(b"z" * (len(DATA) + 5))
    get(server, tmp_path / "a", f"sha256:{SHA}")
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_shorter_file_than_said_never_counts_as_whole(server, tmp_path):
    server.said, server.ranges = len(DATA) + 10, False
    with pytest.raises(UserError, match="cut"):
        get(server, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "the server says 404 Not Found; check the address"), (503, "503 Service Unavailable, 5 times")],
)
def test_a_servers_refusal(server, tmp_path, status, said):
    server.status = status
    with pytest.raises(UserError, match=said):
        get(server, tmp_path / "a")
    assert names(tmp_path) == []
    assert len(server.asked) == (1 if status == 404 else module.ATTEMPTS)


def test_no_network(tmp_path):
    with pytest.raises(UserError, match="refused, 5 times"):
        download(Source("http://127.0.0.1:9/a"), tmp_path / "a", pause=0.001)


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"needs 0\.00 GiB in .*, where 0\.00 are free; free some"):
        get(server, tmp_path / "a")
    assert names(tmp_path) == []


@pytest.mark.parametrize("checksum", ["sha1:abc", "sha256:12", f"sha256:{'x' * 64}", "abc"])
def test_a_checksum_that_is_none(server, tmp_path, checksum):
    with pytest.raises(ValueError, match="checksum="):
        get(server, tmp_path / "a", checksum)
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
    get(server, tmp_path / "b.tar.gz")
    extract(tmp_path / "b.tar.gz", tmp_path / "there")
    assert verify(tmp_path / "there") == ({"train": 5, "val": 3}, [])
    with pytest.raises(UserError, match="is there already; remove it"):
        extract(tmp_path / "b.tar.gz", tmp_path / "there")


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
    ],
)
def test_a_member_that_does_not_belong_there_stops_all(tmp_path, member, said):
    pack(tmp_path / "a.tar.gz", [("train/good", b"good"), member])
    with pytest.raises(UserError, match=said):
        extract(tmp_path / "a.tar.gz", tmp_path / "there")
    assert names(tmp_path) == ["a.tar.gz"]


def test_a_damaged_or_other_archive_leaves_nothing(tmp_path):
    pack(tmp_path / "a.tar.gz", [(f"train/{i}", DATA[:5000]) for i in range(50)])
    whole = (tmp_path / "a.tar.gz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        (tmp_path / "a.tar.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            extract(tmp_path / "a.tar.gz", tmp_path / "there")
        assert names(tmp_path) == ["a.tar.gz"]
    pack(tmp_path / "a.tar.gz", [("music/song", b"la")])
    with pytest.raises(UserError, match="holds no folder train, val, test"):
        extract(tmp_path / "a.tar.gz", tmp_path / "there")
    assert names(tmp_path) == ["a.tar.gz"]


def test_the_command(server, tmp_path, capsys, monkeypatch):
    from mmcl.commands import main

    def call(*words):
        monkeypatch.setattr("sys.argv", ["mmcl", "data", "download", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        out = capsys.readouterr()
        return code, out.out.splitlines(), out.err

    pack(tmp_path / "a.tar.gz", [("set/train/latents_image.csv", b"x"), ("set/test/latents_image.csv", b"x")])
    server.data = (tmp_path / "a.tar.gz").read_bytes()
    folder = tmp_path / "new" / "set"
    code, out, _ = call(server.url, str(folder))
    said = (
        f"{folder}: unpacked; mmcl data verify {folder} reads all of it. {folder.parent}/m3di.tar.gz may go"
    )
    assert (code, out[-1]) == (0, said)
    assert names(folder) == ["test", "train"]
    code, _, err = call(server.url, str(folder))
    assert (code, "is there already" in err, err.count("\n")) == (1, True, 1)
    code, _, err = call("imagenet", str(folder))
    assert (code, err) == (1, "error: imagenet: neither a URL nor one of multimodal3dident\n")
