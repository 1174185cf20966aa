import json

import pytest

from mmcl.records.lock import locked
from mmcl.records.prune import delete, spare_files
from mmcl.records.sweep import read_sweep
from tests.reports.sweeps import write_run

FILES = ("encoders.pt", "world.pt", "checkpoints/last.ckpt", "checkpoints/last.tmp", "checkpoints/mine.ckpt")


def make_run(sweep, seed=0, status="COMPLETED"):
    folder = write_run(sweep, False, seed, status=status)
    (folder / "checkpoints").mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"12345")
    return folder


def spare(sweep, **options):
    return spare_files(read_sweep(sweep).runs, **options)


def names(files):
    return sorted(str(file.path.relative_to(file.run_dir)) for file in files)


def test_our_own_checkpoints_of_a_finished_run_may_go_and_no_other_file(tmp_path):
    make_run(tmp_path)
    assert names(spare(tmp_path)) == ["checkpoints/last.ckpt", "checkpoints/last.tmp"]
    assert names(spare(tmp_path, encoders=True)) == sorted(set(FILES) - {"checkpoints/mine.ckpt"})
    assert {file.size for file in spare(tmp_path)} == {5}


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "INTERRUPTED"])
def test_a_run_that_is_not_finished_keeps_everything(tmp_path, status):
    make_run(tmp_path, status=status)
    assert spare(tmp_path, encoders=True) == []


def test_a_checkpoint_without_encoders_is_all_that_is_left_and_stays(tmp_path):
    (make_run(tmp_path) / "encoders.pt").unlink()
    assert spare(tmp_path, encoders=True) == []


def test_a_run_that_another_process_works_on_is_left(tmp_path):
    busy, idle = make_run(tmp_path, 0), make_run(tmp_path, 1)
    with locked(busy):
        deleted, left = delete(spare(tmp_path))
    assert left == [busy]
    assert {file.run_dir for file in deleted} == {idle}
    assert (busy / "checkpoints/last.ckpt").exists()
    assert not (idle / "checkpoints/last.ckpt").exists()
    assert (idle / "checkpoints/mine.ckpt").exists()


def test_a_run_that_began_anew_meanwhile_is_left(tmp_path):
    path = make_run(tmp_path) / "manifest.json"
    found = spare(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "RUNNING"}))
    assert delete(found) == ([], [path.parent])
    assert all(file.path.exists() for file in found)


def test_from_the_command_line(cli, tmp_path):
    busy, idle = make_run(tmp_path / "sweep", 0), make_run(tmp_path / "sweep", 1)
    result = cli("mmcl", "prune", "sweep")
    assert (result.code, result.out.splitlines()[-1]) == (
        0,
        "4 file(s), 0.0 MiB: may go; nothing is deleted without --delete",
    )
    with locked(busy):
        result = cli("mmcl", "prune", "sweep", "--delete")
    assert result.code == 0
    assert f"sweep/{busy.name}: left as it is" in result.out
    assert result.out.splitlines()[-1] == "2 file(s), 0.0 MiB: deleted"
    assert not (idle / "checkpoints/last.ckpt").exists()
