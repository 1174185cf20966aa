"""The commands of ``mmcl``: what stands around training. Each imports what it needs when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcl.errors import UserError, describe, fail


def main() -> None:
    """Parse the command line and run its command. Ends with one line whatever goes wrong."""
    parser = argparse.ArgumentParser(prog="mmcl", description="Tools around train.py and evaluate.py.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, function: object, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(function=function)
        return made

    def add_sweep(made: argparse.ArgumentParser) -> None:
        made.add_argument("sweep_dir", type=Path, help="a sweep's folder, such as multirun/NAME")

    made = add("check", _check, "compose and validate a train.py command; run nothing")
    made.add_argument("-m", "--multirun", action="store_true", help="the overrides are a sweep")
    made.add_argument("overrides", nargs="*", help="as for train.py, such as seed=1,2 or loss=nt_xent")

    made = add("status", _status, "how the runs of a sweep stand")
    add_sweep(made)
    watch = {"type": float, "nargs": "?", "const": 5.0, "metavar": "SECONDS"}
    made.add_argument("--watch", "-w", **watch, help="again every so often, until all are done")

    made = add("evaluate", _evaluate, "evaluate every trained run of a sweep again, without training")
    add_sweep(made)
    made.add_argument(
        "overrides", nargs="*", help="as for evaluate.py, such as evaluator=[linear]; none: each run's own"
    )

    made = add(
        "prune", _prune, "say which files of a sweep's finished runs may go, and delete them if told to"
    )
    add_sweep(made)
    made.add_argument("--encoders", action="store_true", help="final encoders and worlds too")
    made.add_argument("--delete", action="store_true", help="delete them")

    made = add(
        "collect", _collect, "the runs of a sweep as two tables, results.csv and runs.csv, with an audit"
    )
    made.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="a sweep's folder, such as multirun/NAME, or finished run directories, such as runs/quick/*",
    )
    made.add_argument("--output", "-o", type=Path, help="folder to write into; default: the sweep's own")
    made.add_argument("--allow-mixed", action="store_true", help="take runs of several commits")
    made.add_argument(
        "--curve", action="append", default=[], metavar="NAME",
        help="a logged value, such as loss, whose learning curves to write into curves.csv; several times: several",
    )  # fmt: skip

    made = add("dashboard", _dashboard, "a sweep as one HTML file, also while it runs")
    add_sweep(made)
    made.add_argument("--output", "-o", type=Path, help="file to write; default: SWEEP/dashboard.html")

    made = add("report", _report, "a table and figure of what was collected")
    made.add_argument("spec", help="a name in conf/report, or a .yaml file")
    made.add_argument("folder", type=Path, help="where results.csv and runs.csv are")
    made.add_argument("--output", "-o", type=Path, help="folder to write into; default: FOLDER/report/SPEC")
    made.add_argument("--allow-missing", action="store_true", help="show cells with too few seeds")
    made.add_argument("--allow-nan", action="store_true", help="show cells with scores that are NaN")

    help = "what each loss makes of two correlated Gaussian numbers, exact: a table and figure (docs/perspective.md)"
    made = add("plane", _plane, help)
    made.add_argument(
        "--output", "-o", type=Path, default=Path("plane"), help="folder to write into; default: plane"
    )

    data = commands.add_parser("data", help="image/text sets and image pairs: make and verify them")
    _add_data(data.add_subparsers(dest="data_command", required=True))

    arguments, more = parser.parse_known_args()
    if arguments.command == "check" and not any(a.startswith("-") for a in more):
        arguments.overrides += more  # overrides after -m
    elif more:
        parser.error(f"unknown arguments: {' '.join(more)}")
    try:
        arguments.function(arguments)
    except UserError as error:
        fail(str(error), 2 if arguments.command == "check" else 1)
    except (ValueError, OSError) as error:
        fail(describe(error))
    except KeyboardInterrupt:
        fail("stopped; what was written until then stays", 130)


def _add_data(commands: Any) -> None:
    """``mmcl data generate``, ``download``, ``verify``, ``sheet``, ``supervise`` and ``convert``."""
    help = "make an archive of image/text pairs or image pairs from nothing; again: what is missing of it"
    made = commands.add_parser("generate", help=help, description=help)
    made.set_defaults(function=_generate)
    made.add_argument("folder", type=Path, help="the archive's, made if it is not there")
    made.add_argument("--kind", default="image_text", help="image_text (default) or image_pairs")
    for split, pairs in (("train", 16_000), ("val", 2_000), ("test", 2_000)):
        made.add_argument(
            f"--{split}", type=int, default=pairs, metavar="PAIRS", help=f"default: {pairs}; 0: none"
        )
    made.add_argument("--size", type=int, default=64, help="pixels of a side; default: 64")
    made.add_argument("--seed", type=int, default=0, help="default: 0")
    made.add_argument(
        "--independent",
        action="store_true",
        help="all factors independent; default: style depends on content",
    )
    made.add_argument(
        "--style-change-prob", type=float, default=0.75, metavar="P",
        help="of image pairs: how often a colour differs between the two; default: 0.75",
    )  # fmt: skip
    made.add_argument(
        "--hue-mode", default="original", help="of lights: original (some are lost, as published) or wrapped"
    )
    made.add_argument(
        "--backend",
        default="embree",
        help="what renders: embree (default), or blender (pip install 'mmcl[blender]')",
    )
    made.add_argument(
        "--samples", type=int, help="of a pixel along each side; default: 2 with embree, 4 with blender"
    )
    made.add_argument(
        "--meshes", default="built_in", help="built_in, or a folder with teapot.obj, hare.ply, ..."
    )
    made.add_argument("--processes", "-j", type=int, help="default: as many as there are cores")
    made.add_argument(
        "--shard", default="0/1", metavar="K/N", help="the K-th part of N (from 0), of commands side by side"
    )

    help = "an archive from a server, unpacked; again: on from where it was stopped"
    made = commands.add_parser("download", help=help, description=help)
    made.set_defaults(function=_download)
    made.add_argument(
        "source", help="multimodal3dident (the published image/text set), or a URL of a tar file"
    )
    made.add_argument("folder", type=Path, help="the archive's, made")
    made.add_argument("--checksum", help="sha256:SUM or md5:SUM; default: what the first download had")

    help = "read every row, line, image and sum of an archive"
    made = commands.add_parser("verify", help=help, description=help)
    made.set_defaults(function=_verify)
    made.add_argument("folder", type=Path, help="with train, val, test")

    help = "draw samples of an archive"
    made = commands.add_parser("sheet", help=help, description=help)
    made.set_defaults(function=_sheet)
    made.add_argument("folder", type=Path, help="with train, val, test")
    made.add_argument("--rows", type=int, default=2, help="default: 2")
    made.add_argument("--output", "-o", type=Path, help="file to write; default: FOLDER/sheet.png")

    help = "a published set (MultiBench's, MM-IMDb, Hateful Memes) to a folder of arrays, which data=arrays reads"
    made = commands.add_parser("convert", help=help, description=help)
    made.set_defaults(function=_convert)
    made.add_argument(
        "set", help="mosi, mosei, ur_funny, mustard, mimic, vision_touch, av_mnist, mm_imdb or hateful_memes"
    )
    made.add_argument("source", type=Path, help="its published file, or the folder of its files")
    made.add_argument("folder", type=Path, help="to write, which is not there yet")
    made.add_argument(
        "--pickle",
        action="store_true",
        help="open a pickle: you trust who made it; only arrays are made of it",
    )
    made.add_argument(
        "--task", default="7", help="of mimic: mortality, or the number of a group of ICD-9 codes; default: 7"
    )
    made.add_argument(
        "--features", action="append", default=[], metavar="VIEW=FILE.npz",
        help="of mm_imdb and hateful_memes: what a frozen model made of a view, ids and values",
    )  # fmt: skip
    made.add_argument(
        "--trajectory", metavar="PATTERN",
        help="of vision_touch: its first group names a file's trajectory; default: what stands before its last number",
    )  # fmt: skip

    help = "whether an archive's images hold their factors: a ResNet-18 learns to predict them"
    made = commands.add_parser("supervise", help=help, description=help)
    made.set_defaults(function=_supervise)
    made.add_argument("folder", type=Path, help="with train, val, test")
    made.add_argument("--epochs", type=float, default=10.0, help="of the training images; default: 10")
    made.add_argument("--seed", type=int, default=0, help="default: 0")
    made.add_argument("--precision", default="bf16", help="fp32 or bf16 (default)")
    made.add_argument("--output", "-o", type=Path, help="folder to write into; default: FOLDER/supervised")


def _check(arguments: argparse.Namespace) -> None:
    from mmcl.cli import check

    jobs = check(arguments.overrides, multirun=arguments.multirun)
    for config, overrides in jobs:
        print(f"{config.run.name}/{config.run_key}  {' '.join(overrides)}")
    print(f"ok: {len(jobs)} job(s), {len({c.run_key for c, _ in jobs})} distinct run(s)")


def _status(arguments: argparse.Namespace) -> None:
    """Print the table. The exit code is 1 where a run has failed or died."""
    from mmcl.records.sweep import State
    from mmcl.reports.status import show

    watch = arguments.watch
    if watch is not None and not 0 < watch < float("inf"):
        raise UserError(f"--watch={watch:g}: must be a number of seconds > 0, such as --watch=5")
    try:
        sweep = show(arguments.sweep_dir, watch)
    except KeyboardInterrupt:
        return
    if any(run.state in (State.failed, State.stale) for run in sweep.runs):
        raise SystemExit(1)


def _evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate each trained run; one that cannot be evaluated hides no other."""
    from mmcl.records.sweep import read_sweep

    sweep_dir, overrides = arguments.sweep_dir, arguments.overrides
    found = read_sweep(sweep_dir).runs
    runs = [run for run in found if run.manifest.get("trained")]
    if not runs:
        raise UserError(f"{sweep_dir}: no trained run in it; mmcl status says how its runs stand")
    from mmcl import experiment
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_evaluate
    from mmcl.reports.run import redraw

    # Not the folder: Hydra's grammar would read = and , in its name. Evaluators alone are asked for here.
    _, evaluator = validate_evaluate(compose_one("evaluate", [*overrides, "run_dir=each"]))
    _check_evaluators([run.run_dir for run in runs], evaluator)
    damaged = sum((run.run_dir / "manifest.json").exists() and not run.manifest for run in found)
    if skipped := len(found) - len(runs):
        print(
            f"{skipped} run(s) left out: {skipped - damaged} not trained, {damaged} with a damaged manifest.json"
        )
    faults = []
    for n, run in enumerate(runs, 1):
        print(f"{n}/{len(runs)} {run.run_dir}", flush=True)
        try:
            experiment.evaluate(run.run_dir, evaluator)
            redraw(run.run_dir)
        except Exception as error:
            faults.append(f"{run.run_dir}: {describe(error)}")
            print(f"error: {faults[-1]}", file=sys.stderr)
    if faults:
        fail(f"{len(faults)} of {len(runs)} run(s) could not be evaluated: " + "; ".join(faults))
    print(f"{len(runs)} run(s) evaluated; collect them again: mmcl collect {sweep_dir}")


def _check_evaluators(run_dirs: Sequence[Path], evaluator: Any | None) -> None:
    """Raise the first run's fault if no run can be read with ``evaluator``: before the first is evaluated."""
    from mmcl.experiment import read_config

    faults = []
    for run_dir in run_dirs:
        try:
            read_config(run_dir, evaluator)
            return
        except (UserError, ValueError) as error:
            faults.append(error)
    raise faults[0]


def _prune(arguments: argparse.Namespace) -> None:
    from mmcl.records.prune import delete, spare_files
    from mmcl.records.sweep import read_sweep

    spare = spare_files(read_sweep(arguments.sweep_dir).runs, encoders=arguments.encoders)
    if arguments.delete:
        spare, left = delete(spare)
        for run_dir in left:
            print(f"{run_dir}: left as it is, another process works on it")
    for file in spare:
        print(f"{file.size / 2**20:8.1f} MiB  {file.path}  ({file.why})")
    total = sum(file.size for file in spare) / 2**20
    done = "deleted" if arguments.delete else "may go; nothing is deleted without --delete"
    print(f"{len(spare)} file(s), {total:.1f} MiB: {done}")


def _collect(arguments: argparse.Namespace) -> None:
    from mmcl.reports.collect import collect

    sources, output = arguments.sources, arguments.output
    found = collect(sources, arguments.curve)
    one_sweep = len(sources) == 1 and not (sources[0] / "manifest.json").exists()
    if output is None and not one_sweep:
        raise UserError(
            "run directories have no folder of their own to collect into; name one with -o FOLDER"
        )
    print("\n".join(found.audit))
    if not found.results:
        raise UserError(f"{sources[0]}: no finished run, so there is nothing to collect yet")
    if found.mixed and not arguments.allow_mixed:
        raise UserError(
            f"{found.mixed}: one table, one version of the code; if that is meant, add --allow-mixed"
        )
    found.write(output or sources[0])
    print(
        f"{output or sources[0]}: results.csv ({len(found.results)} rows), runs.csv ({len(found.runs)} runs)"
    )


def _dashboard(arguments: argparse.Namespace) -> None:
    from mmcl.reports.dashboard import dashboard

    path, runs = dashboard(arguments.sweep_dir, arguments.output)
    print(f"{runs} run(s) in {path}: open it in a browser")


def _report(arguments: argparse.Namespace) -> None:
    from mmcl.reports.report import make_report

    report = make_report(
        arguments.spec,
        arguments.folder,
        allow_missing=arguments.allow_missing,
        allow_nan=arguments.allow_nan,
    )
    output = arguments.output or arguments.folder / "report" / report.spec.name
    report.write(output)
    within, compared = report.marks
    held = f"; {within} of {compared} cells within the paper's tolerance" if compared else ""
    print(f"{output}: {', '.join(report.files)}{held}")


def _plane(arguments: argparse.Namespace) -> None:
    from mmcl.plane import write_plane

    print(f"{arguments.output}: {', '.join(path.name for path in write_plane(arguments.output))}")


def _generate(arguments: argparse.Namespace) -> None:
    """Make an archive. The same command goes on where it was stopped."""
    from rich.progress import Progress, TimeRemainingColumn

    from mmcl.archives.generate import SAMPLES, Recipe, generate
    from mmcl.cores import usable_cores

    part, slash, parts = arguments.shard.partition("/")
    if not (slash and part.isdigit() and parts.isdigit()):
        raise UserError(f"--shard={arguments.shard}: must be K/N, such as 0/4, 1/4, ...")
    pairs = {split: n for split in ("train", "val", "test") if (n := getattr(arguments, split)) != 0}
    recipe = Recipe(
        kind=arguments.kind,
        pairs=pairs,
        size=arguments.size,
        seed=arguments.seed,
        causal=not arguments.independent,
        style_change_prob=arguments.style_change_prob,
        hue_mode=arguments.hue_mode,
        samples=SAMPLES.get(arguments.backend, 2) if arguments.samples is None else arguments.samples,
        meshes=arguments.meshes,
        backend=arguments.backend,
    )
    processes = arguments.processes if arguments.processes is not None else usable_cores()
    total = sum(pairs.values()) // int(parts or 1) if int(parts) else 0
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
        task = bar.add_task("pairs", total=total)
        whole = generate(
            arguments.folder,
            recipe,
            processes=processes,
            shard=(int(part), int(parts)),
            progress=lambda n: bar.advance(task, n),
        )
        bar.update(task, completed=total)
    counts = ", ".join(f"{n} {split}" for split, n in pairs.items())
    if whole:
        print(f"{arguments.folder}: {counts} pairs, {arguments.size} x {arguments.size}")
    else:
        print(f"{arguments.folder}: this part is done; the other parts make the rest")


def _download(arguments: argparse.Namespace) -> None:
    """What was downloaded lies in FOLDER.download, and may stay: a later download is held to its sum."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from mmcl.archives.download import SOURCES, Place, Source, download, extract

    known, folder = SOURCES.get(arguments.source), arguments.folder
    if known is None and "://" not in arguments.source:
        raise UserError(f"{arguments.source}: neither a URL nor one of {', '.join(SOURCES)}")
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it to download it again")
    url = known.url if known else arguments.source
    source = Source(url, arguments.checksum or (known.checksum if known else None))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(url.rpartition("/")[2] or url, total=None)
        file = download(source, folder, lambda done, total: bar.update(task, completed=done, total=total))
    with Progress(TextColumn("unpacking {task.completed} files")) as bar:
        task = bar.add_task("", total=None)
        extract(file, folder, lambda files: bar.update(task, completed=files))
    print(f"{folder}: unpacked; mmcl data verify {folder} reads all of it. {Place(folder).file} may go")


def _verify(arguments: argparse.Namespace) -> None:
    """Print the faults; the exit code is 1 where there is one."""
    from rich.console import Console

    from mmcl.archives.verify import style_law, verify

    with Console(stderr=True).status("reading") as status:
        counts, faults = verify(arguments.folder, lambda what: status.update(f"reading {what}"))
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    if law := style_law(arguments.folder):
        print(f"{arguments.folder}: {law}")
    if faults:
        fail(
            f"{arguments.folder}: {len(faults)} fault(s){', the first 20 above' if len(faults) > 20 else ''}"
        )
    print(
        f"{arguments.folder}: whole; " + ", ".join(f"{n} {split}" for split, n in counts.items()) + " pairs"
    )


def _sheet(arguments: argparse.Namespace) -> None:
    from mmcl.archives.sheet import sheet

    if arguments.rows < 1:
        raise UserError(f"--rows={arguments.rows}: must be >= 1")
    path = arguments.output or arguments.folder / "sheet.png"
    sheet(arguments.folder, path, arguments.rows)
    print(path)


def _convert(arguments: argparse.Namespace) -> None:
    from mmcl.archives.arrays import write_arrays
    from mmcl.archives.published import Options, read_set

    features = {}
    for text in arguments.features:
        view, equals, file = text.partition("=")
        if not (view and equals and file):
            raise UserError(f"--features {text}: must be VIEW=FILE.npz")
        if view in features:
            raise UserError(f"--features {text}: {view} is named twice")
        features[view] = Path(file)
    if arguments.folder.exists():
        raise UserError(f"{arguments.folder}: is there already; name another folder, or remove it")
    pattern = {} if arguments.trajectory is None else {"trajectory": arguments.trajectory}
    options = Options(arguments.pickle, arguments.task, features, **pattern)
    splits = read_set(arguments.set, arguments.source, options)
    about = {"set": arguments.set, "source": str(arguments.source)}
    if arguments.set == "mimic":
        about["task"] = arguments.task
    write_arrays(arguments.folder, splits, about)
    for split, arrays in splits.items():
        shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
        print(f"{arguments.folder / split}: {shapes}")


def _supervise(arguments: argparse.Namespace) -> None:
    """Print the scores, and write them as ``scores.csv`` and ``table.md`` with ``about.json``: what they are of."""
    import torch
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn
    from rich.table import Table

    from mmcl.data import Archive
    from mmcl.records import manifest
    from mmcl.records.files import write_bytes, write_csv, write_json
    from mmcl.records.markdown import markdown_table
    from mmcl.supervised import BATCH, supervise

    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if arguments.precision not in precisions:
        raise UserError(f"--precision={arguments.precision}: must be {' or '.join(precisions)}")
    if not 0 < arguments.epochs < float("inf"):
        raise UserError(f"--epochs={arguments.epochs}: must be > 0 and finite")
    folder, output = arguments.folder, arguments.output or arguments.folder / "supervised"
    world = Archive(str(folder)).draw(torch.Generator())
    output.mkdir(parents=True, exist_ok=True)  # before the work: it may not be allowed
    views = [view for view in world.views if view != "text"]
    steps = max(1, round(arguments.epochs * len(world) / BATCH))
    scores = []
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
        for view in views:
            task = bar.add_task(view, total=steps)

            def show(step: int, loss: float, task: Any = task, view: str = view) -> None:
                bar.update(task, completed=step, description=f"{view}, loss {loss:.2f}")

            scores += supervise(
                world, view, steps=steps, seed=arguments.seed,
                precision=precisions[arguments.precision], progress=show,
            )  # fmt: skip
    write_csv(output / "scores.csv", list(vars(scores[0])), [vars(score) for score in scores])
    about = {
        "archive": {split: bytes(tensor.tolist()).hex() for split, tensor in world.state_dict().items()},
        "epochs": arguments.epochs,
        "steps": steps,
        "seed": arguments.seed,
        "precision": arguments.precision,
        "versions": manifest.versions(),
        "git": manifest.git_state(Path(__file__).parent),
    }
    write_json(output / "about.json", about)
    columns = ["view", "factor", "metric", "value", "chance"]
    rows = [[s.view, s.factor, s.metric, f"{s.value:.3f}", f"{s.chance:.3f}"] for s in scores]
    write_bytes(output / "table.md", markdown_table(columns, rows).encode())
    table = Table(title=f"{folder}: what a ResNet-18 predicts of {scores[0].n_test} held-out images")
    for name in columns:
        table.add_column(name, justify="right" if name in ("value", "chance") else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    print(output / "scores.csv")
