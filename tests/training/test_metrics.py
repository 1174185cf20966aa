from mmcl.training.metrics import MetricsCSV


def rows(path):
    return path.read_text().splitlines()


def test_steps_are_those_done_and_floats_read_back_exactly(tmp_path):
    log = MetricsCSV(tmp_path / "metrics.csv")
    log.resume(0)
    log.log_metrics({"loss": 0.1 + 0.2, "epoch": 0}, step=24)
    log.finalize("success")
    assert rows(log.path) == ["step,name,value", f"25,loss,{0.1 + 0.2!r}"]


def test_resuming_drops_what_lies_beyond_the_checkpoint_and_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n5,loss,1.0\n10,loss,0.9\n10,r2,0.5\n15,loss,0.8\n20,lo")
    log = MetricsCSV(path)
    log.resume(10)
    log.log_metrics({"loss": 0.7}, step=14)
    log.finalize("success")
    assert rows(path) == ["step,name,value", "5,loss,1.0", "10,loss,0.9", "10,r2,0.5", "15,loss,0.7"]


def test_a_line_cut_short_within_the_checkpoint_is_dropped_too(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n5,loss,1.0\n10,loss,0.9")
    log = MetricsCSV(path)
    log.resume(10)
    assert rows(path) == ["step,name,value", "5,loss,1.0"]


def test_starting_anew_forgets_the_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n5,loss,1.0\n")
    MetricsCSV(path).resume(0)
    assert rows(path) == ["step,name,value"]
