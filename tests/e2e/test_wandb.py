"""W&B for real: an offline run read back, and W&B broken in every way while the run goes on undisturbed."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from mmcl.training import wandb_logger
from mmcl.training.wandb_session import Session, abandon_service
from tests.conftest import ROOT, process
from tests.wandb_reader import read_all

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RUN = (
    "experiment=smoke",
    "callbacks=[online_r2]",
    "callbacks.online_r2.every_n_steps=20",
    "evaluator=[linear,kernel_ridge]",
)
BOTH = "logger=[csv,wandb]"
KEY = "0123456789" * 4
WARNING = "warning: W&B is off for this run: "


def clean(home: Path) -> dict[str, str]:
    """Settings under which nobody is logged in."""
    return {"NETRC": str(home / "netrc"), "WANDB_CONFIG_DIR": str(home / "wandb-config")}


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path_factory, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    for name, value in clean(tmp_path_factory.mktemp("home")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wandb_logger, "_said", set())
    yield
    abandon_service()  # it keeps the environment that it began with


def only(pattern):
    (found,) = Path.cwd().glob(pattern)
    return found


def whole(result, run):
    """The run ended well, with all that it has without W&B."""
    assert result.code == 0, result.err
    assert json.loads((run / "manifest.json").read_text())["status"] == "COMPLETED"
    metrics = pd.read_csv(run / "metrics.csv")
    assert list(metrics[metrics.name == "loss"].step) == list(range(5, 41, 5))
    assert set(pd.read_csv(run / "results.csv").evaluator) == {"linear", "kernel_ridge"}
    assert (run / "figure.png").exists()


def said(result):
    return [line for line in result.err.splitlines() if "W&B" in line or "wandb" in line.lower()]


def off(result, *words):
    (line,) = said(result)
    assert line.startswith(WARNING), line
    for word in words:
        assert word in line
    assert "Traceback" not in result.err


def test_an_offline_run_has_everything_in_it(cli):
    result = cli("train.py", *RUN, BOTH)
    run = only("runs/smoke/*")
    whole(result, run)
    (line,) = said(result)
    assert "no login" in line
    assert "wandb sync" in line
    (logged,) = read_all(run / "wandb")
    assert logged.run == {
        "id": run.name,
        "project": "mmcl",
        "name": f"smoke/{run.name}",
        "group": "",
        "job_type": "train",
        "tags": ["smoke", "Contrastive", "MLP", "LatentVariableModel", "single"],
    }
    assert logged.exit_code == 0
    assert logged.config["data"]["style_change_prob"] == 1.0
    assert logged.config["encoder"]["encoding_size"] == 5
    metrics = pd.read_csv(run / "metrics.csv")
    for name in ("loss", "content_r2"):
        rows = metrics[metrics.name == name]
        assert logged.curve(name) == dict(zip(rows.step, rows.value, strict=True))
    results = pd.read_csv(run / "results.csv", dtype={"run_key": str, "evaluation_key": str})
    linear = results[(results.evaluator == "linear") & (results.target == "content")]
    assert logged.summary["linear/content_r2"] == pytest.approx(linear.value.mean())
    assert {"nonlinear/content_r2", "nonlinear/style_r2", "ceiling/style_r2"} <= set(logged.summary)
    files = run.glob("wandb/offline-run-*/files")
    (files,) = files
    shown = {name: logged.summary[f"{name}/path"] for name in ("results", "figure")}
    assert (files / shown["figure"]).read_bytes().startswith(b"\x89PNG")
    table = json.loads((files / shown["results"]).read_text())
    assert table["columns"] == list(results.columns)
    assert [row[0] for row in table["data"]] == [run.name] * len(results)
    assert [row[9] for row in table["data"]] == pytest.approx(list(results.value))


def test_each_job_of_a_sweep_is_a_run_in_one_group(cli):
    result = cli("train.py", "-m", *RUN, BOTH, "seed=0,1", "name=two")
    assert result.code == 0, result.err
    assert len(said(result)) == 1, "said once for all jobs"
    folders = list(Path.cwd().glob("multirun/two/*/wandb"))
    assert len(folders) == 2
    for folder in folders:
        run = folder.parent
        (logged,) = read_all(folder)
        assert (logged.run["id"], logged.run["group"]) == (run.name, "two")
        assert logged.run["tags"][-1] == "sweep"
        assert list(logged.curve("loss")) == list(range(5, 41, 5))


def test_a_resumed_run_goes_on_with_its_curve(cli, monkeypatch):
    from mmcl.training.callbacks import LogLoss

    told = LogLoss.on_train_batch_end

    def stop(self, trainer, *arguments):
        told(self, trainer, *arguments)
        if trainer.global_step == 25:
            raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(LogLoss, "on_train_batch_end", stop)
        assert cli("train.py", *RUN, BOTH).code == 1
    time.sleep(1.1)  # folders are named by the second
    result = cli("train.py", *RUN, BOTH)
    run = only("runs/smoke/*")
    whole(result, run)
    first, second = read_all(run / "wandb")
    assert first.run["id"] == second.run["id"] == run.name
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert list(first.curve("loss")) == [5, 10, 15, 20, 25]
    assert list(second.curve("loss")) == [25, 30, 35, 40], "on from the checkpoint of step 20"


def test_a_finished_run_is_not_logged_again(cli):
    assert cli("train.py", *RUN, "logger=[csv]").code == 0
    assert cli("train.py", *RUN, BOTH).code == 0
    run = only("runs/smoke/*")
    assert not (run / "wandb").exists()
    assert cli("train.py", *RUN, BOTH, "evaluator.linear.n_fit=64").code == 0
    (logged,) = read_all(run / "wandb")
    assert "linear/content_r2" in logged.summary, "but new results are"


class Refuses(http.server.BaseHTTPRequestHandler):
    """A W&B server that knows no key."""

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(401)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing_server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_server():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("fault", ["key", "malformed key", "network"])
def test_a_refused_key_or_no_network_is_an_offline_run(cli, monkeypatch, refusing_server, fault):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "nonsense" if fault == "malformed key" else KEY)
    monkeypatch.setenv("WANDB_BASE_URL", closed_port() if fault == "network" else refusing_server)
    result = cli("train.py", *RUN, BOTH)
    run = only("runs/smoke/*")
    whole(result, run)
    (line,) = said(result)
    assert "the login failed" in line
    assert "wandb sync" in line
    (logged,) = read_all(run / "wandb")
    assert list(logged.curve("loss")) == list(range(5, 41, 5))


def test_a_server_that_does_not_answer(cli, monkeypatch, silent_server):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    result = cli("train.py", *RUN, BOTH, "logger.wandb.start_timeout_s=3")
    whole(result, only("runs/smoke/*"))
    # W&B has the same three seconds for an answer: who is first, it or our watch, is up to the machine.
    if "the login failed" in result.err:
        assert "runs are logged offline, and uploaded later with wandb sync" in result.err
    else:
        off(result, "has not started in 3 s")


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_wandb_raises(cli, monkeypatch, call):
    monkeypatch.setenv("WANDB_MODE", "offline")
    import wandb

    def crash(*_, **__):
        raise RuntimeError("made to fail\nin two lines")

    monkeypatch.setattr(*((wandb, "init") if call == "init" else (wandb.sdk.wandb_run.Run, call)), crash)
    result = cli("train.py", *RUN, BOTH)
    whole(result, only("runs/smoke/*"))
    off(result, "RuntimeError: made to fail in two lines")


@pytest.mark.parametrize("call", ["open", "log", "finish"])
def test_wandb_hangs(cli, monkeypatch, call):
    monkeypatch.setenv("WANDB_MODE", "offline")
    gate = threading.Event()
    monkeypatch.setattr(Session, call, lambda *_: gate.wait())
    limits = ("logger.wandb.start_timeout_s=1", "logger.wandb.finish_timeout_s=2")
    if call != "open":
        limits = ("logger.wandb.finish_timeout_s=2",)
    result = cli("train.py", *RUN, BOTH, *limits)
    gate.set()
    whole(result, only("runs/smoke/*"))
    off(result)


def test_its_service_process_is_killed_while_the_run_trains(cli, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = Session.log

    def kill_then_log(self, metrics, step):
        log(self, metrics, step)
        if step == 15:
            service = sys.modules["wandb.sdk.wandb_setup"]._singleton._connection._proc._process
            service.kill()
            service.wait()

    with monkeypatch.context() as patch:
        patch.setattr(Session, "log", kill_then_log)
        result = cli("train.py", *RUN, BOTH)
    whole(result, only("runs/smoke/*"))
    off(result)
    assert cli("train.py", *RUN, BOTH, "seed=1").code == 0
    runs = [read_all(path) for path in Path.cwd().glob("runs/smoke/*/wandb")]
    assert 0 in [logged.exit_code for found in runs for logged in found], "the next job has W&B again"


def test_a_file_in_the_place_of_its_folder(cli, tmp_path):
    key = cli("mmcl", "check", *RUN).out.split()[0].removeprefix("smoke/")
    run = tmp_path / "runs" / "smoke" / key
    run.mkdir(parents=True)
    (run / "wandb").write_text("mine")
    result = cli("train.py", *RUN, BOTH)
    whole(result, run)
    off(result, "wandb")
    assert (run / "wandb").read_text() == "mine"


@pytest.mark.parametrize("size", ["4k", "24k", "64k"])
def test_a_full_disk_under_its_folder(cli, tmp_path, small_disk, size, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    disk = small_disk(size)
    key = cli("mmcl", "check", *RUN).out.split()[0].removeprefix("smoke/")
    run = tmp_path / "runs" / "smoke" / key
    run.mkdir(parents=True)
    (run / "wandb").symlink_to(disk, target_is_directory=True)
    result = cli("train.py", *RUN, BOTH)
    whole(result, run)
    off(result)


def test_from_the_command_line_and_out_of_it(tmp_path):
    """In a process of its own: it ends with exit code 0, soon, and says nothing but its line."""
    child = process(str(ROOT / "train.py"), *RUN, BOTH, cwd=tmp_path, **clean(tmp_path))
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
    assert len(err.strip().splitlines()) == 1, err
    assert "wandb:" not in out
    (run,) = tmp_path.glob("runs/smoke/*")
    (logged,) = read_all(run / "wandb")
    assert logged.exit_code == 0
    found = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", str(run / "wandb")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert f"run-{run.name}.wandb" in found.stderr + found.stdout


def test_a_run_without_wandb_imports_none(tmp_path):
    code = (
        "import sys; from mmcl import cli; sys.argv = ['train.py', *sys.argv[1:]]; cli.train(); "
        "cli.check(['logger=[csv,wandb]'], multirun=False); "
        "sys.exit(any(name.partition('.')[0] == 'wandb' for name in sys.modules))"
    )
    child = process("-c", code, *RUN, "logger=[csv]", "trainer.max_steps=2", cwd=tmp_path)
    _, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
