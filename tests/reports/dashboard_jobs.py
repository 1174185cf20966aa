"""Sweeps as small folders: what their jobs leave behind, written by hand with known values."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from mmcl.records.heartbeat import Beat
from mmcl.records.sweep import expect

NOW = 1_800_000_000.0
STARTED = "2027-01-15T07:30:00+00:00"  # half an hour before NOW
COMMIT = "1a2bd1ba97e7daef35fe04e30f77c133fd655f79"
RESULTS = (
    "run_key,seed,evaluator,evaluation_key,split,representation,intervention,target,metric,value,chance,ceiling,"
    "n_fit,n_test"
)
BEAT_AGE_S = 25


@dataclass
class Job:
    """One run of a sweep; ``state`` as in ``mmcl.records.sweep.State``."""

    key: str
    overrides: list[str]
    config: dict[str, Any]
    state: str = "done"
    content: float = 0.9
    style: float = 0.3
    error: str | None = None


def config(seed: int = 0, prob: float = 1.0, causal: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "name": more.pop("name", "demo"),
        "seed": seed,
        "batch_size": 512,
        "data": {"_target_": "mmcl.worlds.LatentVariableModel", "style_change_prob": prob, "causal": causal},
        "loss": {"_target_": "mmcl.losses.Contrastive", "temperature": 1.0},
        "trainer": {"_target_": "mmcl.training.trainer.Trainer", "max_steps": 1000},
        **more,
    }


def results(job: Job) -> str:
    """``results.csv``: two modalities, two predictors, one intervention."""
    lines = [RESULTS]
    for evaluator, intervention, factor in (
        ("linear", "none", 0.95),
        ("kernel_ridge", "none", 1.0),
        ("kernel_ridge_intervention", "permute_content", 0.5),
    ):
        for view, sign in (("x1", 1), ("x2", -1)):
            for target, value, ceiling in (
                ("content", job.content, 1.0),
                (f"style.{view}", job.style, 0.25),
                (f"modality_specific.{view}", 0.0, 0.0),
            ):
                scored = factor * (value + sign * 0.01)
                lines.append(
                    f"{job.key},{job.config['seed']},{evaluator},e,test,{view},{intervention},{target},r2,"
                    f"{scored!r},-0.001,{ceiling},128,128"
                )
    lines.append(f"{job.key},{job.config['seed']},heldout_loss,h,test,all,none,objective,loss,-4.4,,,0,128")
    return "\n".join(lines) + "\n"


def metrics(steps: int, every: int, level: float, shake: random.Random) -> str:
    """``metrics.csv``: a falling loss at each ``every`` steps, an R^2 at each tenth of them."""
    lines = ["step,name,value"]
    for step in range(every, steps + 1, every):
        loss = -4.0 * level * (1 - math.exp(-step / 250)) + shake.gauss(0, 0.03)
        lines.append(f"{step},loss,{loss!r}")
        if step % (10 * every) == 0:
            lines.append(f"{step},content_r2,{level * (1 - math.exp(-step / 200))!r}")
    return "\n".join(lines) + "\n"


def write_job(sweep: Path, job: Job, every: int = 10) -> Path:
    """The run directory of ``job``; nothing if it is missing."""
    run_dir = sweep / job.key
    if job.state == "missing":
        return run_dir
    run_dir.mkdir(parents=True)
    shake = random.Random(job.key)
    steps = {"done": 1000, "running": 430, "interrupted": 600, "stale": 300, "failed": 120}[job.state]
    done = job.state == "done"
    attempt: dict[str, Any] = {
        "started": STARTED,
        "overrides": job.overrides,
        "git": {"commit": COMMIT, "dirty": False},
    }
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "run_key": job.key,
        "name": "demo",
        "seed": job.config["seed"],
        "status": {"done": "COMPLETED", "failed": "FAILED", "interrupted": "INTERRUPTED"}.get(
            job.state, "RUNNING"
        ),
        "trained": done,
        "attempts": [{**attempt, "wall_s": 200.5 + shake.randrange(60)} if done else attempt],
        "evaluations": {},
        "train_s": 0.0,
        "error": job.error,
    }
    if done:
        manifest["steps_done"] = 1000
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    (run_dir / "config.yaml").write_text(yaml.safe_dump(job.config, sort_keys=False))
    (run_dir / "metrics.csv").write_text(metrics(steps, every, job.content, shake))
    if done:
        (run_dir / "results.csv").write_text(results(job))
    if job.state in ("running", "stale"):
        age = BEAT_AGE_S if job.state == "running" else 3 * 3600
        beat = Beat(NOW - age, "node7", 4242, NOW - age - 215, "train", 0, 430, 1000)
        (run_dir / "heartbeat.json").write_text(json.dumps(asdict(beat)))
    return run_dir


def grid(sweep: Path, runs: int, every: int = 10) -> list[Job]:
    """A sweep of ``runs`` runs: 20 settings, some of whose runs are not done."""
    shake = random.Random(0)
    settings = list(product((0.1, 0.25, 0.5, 0.75, 1.0), (False, True), ("sym_info_nce", "nt_xent")))
    jobs = []
    for i in range(runs):
        prob, causal, loss = settings[i % len(settings)]
        seed = i // len(settings)
        job = Job(
            key=f"{(0x1F83D9AB * (i + 1)) % 2**40:010x}",
            overrides=[
                "experiment=numerical/quick",
                f"data.style_change_prob={prob}",
                f"data.causal={str(causal).lower()}",
                f"loss={loss}",
                f"seed={seed}",
            ],
            config=config(seed, prob, causal),
            content=0.97
            - 0.1 * causal
            - 0.35 * (1 - prob)
            - 0.15 * (loss == "nt_xent")
            - 0.05 * shake.random(),
            style=0.05 + 0.6 * (1 - prob) + 0.2 * causal + 0.04 * shake.random(),
        )
        job.config["loss"]["temperature"] = 1.0 if loss == "sym_info_nce" else 0.5
        job.state = {3: "failed", 7: "running", 11: "interrupted", 13: "stale", 17: "missing"}.get(
            i % 41, "done"
        )
        if job.state == "failed":
            job.error = (
                "DivergedError: loss=nan at step 120; lower optimizer.lr or set trainer.gradient_clip_val"
            )
        if job.state == "interrupted":
            job.error = "stopped at step 600 by signal 15"
        jobs.append(job)
        write_job(sweep, job, every)
    sweep.mkdir(parents=True, exist_ok=True)
    expect(sweep, {job.key: job.overrides for job in jobs})
    return jobs
