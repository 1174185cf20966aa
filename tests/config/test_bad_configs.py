"""Bad configs: one readable line that names the key and what is allowed, before any work."""

import pytest

BAD = [
    # (override, what the line must say)
    ("data.content_szie=3", ["data.content_szie", "did you mean content_size?"]),
    ("+data.content_szie=3", ["data.content_szie", "did you mean content_size?"]),
    ("++data.content_szie=3", ["data.content_szie", "did you mean content_size?"]),
    ("+loss.temprature=0.3", ["loss.temprature", "temperature"]),
    ("++optimizer.schedule.warmpu=0.1", ["optimizer.schedule.warmpu", "warmup"]),
    ("optimizer.schedule.warmpu=0.1", ["optimizer.schedule.warmpu", "warmup"]),
    ("sede=1", ["sede", "did you mean seed?"]),
    ("+sede=1", ["sede", "did you mean seed?"]),
    ("~data", ["data", "data=NAME"]),
    ("loss=sym_infonce", ["loss=sym_infonce", "sym_info_nce"]),
    ("experiment=numerical/quik", ["quik", "did you mean quick?"]),
    ("evaluator=[linear,kernel]", ["evaluator=kernel", "kernel_ridge"]),
    ("evaluator=linear_", ["evaluator=linear_", "linear"]),
    ("data.content_size=five", ["data.content_size", "five", "Integer"]),
    ("data.causal=maybe", ["data.causal", "maybe"]),
    ("seed=abc", ["seed", "abc"]),
    ("seed=-1", ["seed=-1", ">= 0"]),
    ("seed=null", ["seed"]),
    ("batch_size=1", ["batch_size=1", ">= 2", "negative"]),
    ("batch_size=0", ["batch_size=0", ">= 2"]),
    ("data.content_size=-5", ["data.content_size=-5", ">= 1"]),
    ("data.style_size=-1", ["data.style_size=-1"]),
    ("data.modality_specific_sizes=[5]", ["data.modality_specific_sizes=[5]", "two or more"]),
    ("data.modality_specific_sizes=5", ["data.modality_specific_sizes"]),
    ("data.style_change_prob=1.5", ["data.style_change_prob=1.5", "[0, 1]"]),
    ("data.style_change_prob=nan", ["data.style_change_prob"]),
    ("data.content_std=0", ["data.content_std"]),
    ("data.content_classes=1", ["data.content_classes=1"]),
    ("data.process=sideways", ["data.process", "sideways", "symmetric"]),
    ("data.tied_covariances=true", ["data.tied_covariances", "statistical"]),
    ("encoder.encoding_size=0", ["encoder.encoding_size=0", ">= 1"]),
    ("encoder.widths=[]", ["encoder.widths=[]"]),
    ("encoder.widths=[16,x]", ["encoder.widths", "x"]),
    ("encoder.bound=-1", ["encoder.bound=-1", "> 0"]),
    ("loss.temperature=0", ["loss.temperature=0", "> 0"]),
    ("loss.temperature=inf", ["loss.temperature=inf"]),
    ("loss.similarity=euclid", ["loss.similarity", "euclid", "negative_squared_euclidean"]),
    ("optimizer.lr=-1", ["optimizer.lr=-1", "> 0"]),
    ("optimizer.schedule.decay=slow", ["optimizer.schedule.decay", "slow", "linear"]),
    ("trainer.max_steps=0", ["trainer.max_steps=0", ">= 1"]),
    ("trainer.precision=fp8", ["trainer.precision", "fp8", "bf16_mixed"]),
    ("trainer.gradient_clip_val=0", ["trainer.gradient_clip_val=0"]),
    ("trainer.accelerator=abacus", ["trainer.accelerator", "abacus", "cpu"]),
    ("evaluator.linear.n_fit=1", ["evaluator.linear.n_fit=1", ">= 2"]),
    ("evaluator.kernel_ridge.alphas=[0]", ["evaluator.kernel_ridge.alphas"]),
    ("loss._target_=os.system", ["loss._target_=os.system", "refused"]),
    ("loss._target_=mmcl.losses.contrastive.math.exp", ["loss._target_", "not found"]),
    (
        "loss._target_=mmcl.losses.contrastive.Callable",
        ["loss._target_=mmcl.losses.contrastive.Callable", "refused"],
    ),
    ("loss._target_=mmcl.losses.NoSuchLoss", ["NoSuchLoss", "not found"]),
    ("callbacks.progress._target_=builtins.exec", ["callbacks.progress._target_", "refused"]),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.Timer,durtion:1}",
        ["callbacks.x.durtion", "duration"],
    ),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.Timer,duration:{_target_:pathlib.Path.touch}}",
        ["callbacks.x", "refused"],
    ),
    ("loss._target_=mmcl.encoders.MLP", ["loss._target_=mmcl.encoders.MLP", "refused", "mmcl.losses.*"]),
    ("name=/tmp/elsewhere", ["name='/tmp/elsewhere'", "relative"]),
    ("name=../elsewhere", ["name='../elsewhere'", "relative"]),
    ("seed=interval(0,1)", ["interval"]),
    ("data=null", ["null"]),
    ("a b", ["a b", "KEY=VALUE"]),
    ("seed=1,2", ["-m"]),
    ("output=", ["output"]),
    ("evaluation.n_fti=3", ["evaluation.n_fti", "did you mean n_fit?"]),
    ("++evaluation.n_fti=3", ["evaluation.n_fti", "did you mean n_fit?"]),
    ("evaluation.n_test=0", ["evaluation.n_test=0", ">= 2"]),
]


COMM = ("encoder=multimodal", "loss=comm", "augmentation=vectors", "evaluator=[linear]")
BAD_PARTS = [
    ("encoder.backbone.widhts=[4]", ["encoder.backbone.widhts", "did you mean widths?"]),
    ("encoder.fusion.heads=0", ["encoder.fusion.heads=0", ">= 1"]),
    ("encoder.fusion.heads=5", ["encoder.encoding_size=64", "fusion.heads=5"]),
    (
        "encoder.fusion._target_=mmcl.losses.Contrastive",
        ["encoder.fusion._target_", "refused", "mmcl.encoders.*"],
    ),
    ("encoder.fusion._target_=os.system", ["encoder.fusion._target_", "refused"]),
    ("encoder.head.widths=[0]", ["encoder.head.widths=[0]"]),
    ("+encoder.backbones.x1.widths=[4]", ["encoder.backbones.x1", "has no _target_"]),
    ("augmentation.default.drop=2", ["augmentation.default.drop=2", "[0, 1]"]),
    ("loss.terms=[{first: each, secnod: all}]", ["loss.terms.secnod", "did you mean second?"]),
    ("loss.terms=[{first: other, second: all}]", ["loss.", "first='other'"]),
    ("~augmentation", ["loss", "augmented draws 1, 2", "augmentation=NAME"]),
    ("evaluator=[heldout_loss]", ["evaluator.heldout_loss", "augmented draws"]),
]


@pytest.mark.parametrize(("override", "words"), BAD_PARTS)
def test_a_bad_part_of_a_part(cli, override, words):
    result = cli("mmcl", "check", *COMM, override)
    assert result.code != 0
    line = result.err.strip()
    assert "\n" not in line
    for word in words:
        assert word in line


def test_rules_between_groups(cli):
    result = cli("mmcl", "check", "experiment=smoke", "loss=release_numerical", "evaluation.n_fit=63")
    assert result.code == 2
    assert "evaluator.heldout_loss: n_fit=63" in result.err


@pytest.mark.parametrize(("override", "words"), BAD, ids=[b[0] for b in BAD])
def test_a_bad_override_fails_in_one_line_before_any_work(cli, tmp_path, override, words):
    result = cli("mmcl", "check", "experiment=smoke", override)
    assert result.code != 0
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], (word, lines[0])
    assert not list(tmp_path.iterdir())


def test_train_makes_the_same_check_before_it_makes_a_folder(cli, tmp_path):
    result = cli("train.py", "experiment=smoke", "++loss.temprature=1")
    assert result.code == 2
    assert result.err.splitlines() == [
        cli("mmcl", "check", "experiment=smoke", "+loss.temprature=1").err.strip()
    ]
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_checked_whole_before_its_first_job(cli, tmp_path):
    result = cli("train.py", "-m", "experiment=smoke", "loss.temperature=1,-1")
    assert result.code == 2
    assert "loss.temperature=-1" in result.err
    assert not list(tmp_path.iterdir())


def test_checking_a_sweep_names_every_run(cli):
    result = cli("mmcl", "check", "-m", "experiment=smoke", "seed=range(3)", "loss=info_nce,nt_xent")
    assert result.code == 0
    assert "ok: 6 job(s), 6 distinct run(s)" in result.out


def test_equal_configs_are_one_run(cli):
    result = cli("mmcl", "check", "-m", "experiment=smoke", "seed=0", "trainer.threads=1,2")
    assert "ok: 2 job(s), 1 distinct run(s)" in result.out


def test_help_explains_itself(cli):
    result = cli("train.py", "--help")
    assert "python train.py experiment=numerical/quick" in result.out
    for group in ("data", "encoder", "loss", "evaluator", "optimizer", "trainer", "callbacks", "logger"):
        assert group in result.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loss=mmd"], ["evaluator.gaussian_model", "negatives=cross"]),
        (["encoder=quick_mlp"], ["evaluator.gaussian_model", "encoder=linear", "conditional_moments"]),
        (["loss.negatives=within"], ["evaluator.gaussian_model", "negatives=cross"]),
        (["loss.learned_temperature=true"], ["evaluator.gaussian_model", "learned_temperature=False"]),
        (["loss.alignment_weight=2"], ["evaluator.gaussian_model", "alignment_weight=2"]),
        (["loss.similarity=cosine"], ["evaluator.gaussian_model", "similarity", "cosine"]),
        (["loss=mmd", "evaluator=[heldout_loss]"], ["evaluator.heldout_loss", "compares views too"]),
        (
            ["data.covariance=[[1.0,2.0],[2.0,1.0]]", "data.sizes=[1,1]"],
            ["data.covariance", "positive definite"],
        ),
        (["data=drifters", "data.steps=75"], ["data.steps=75", "multiple of positions=50"]),
        (["data=finite", "data.n=1"], ["data.n=1", ">= 2"]),
        (["data=digits", "data.source=fashion"], ["data.source", "fashion", "mnist"]),
        (["loss=mmd", "+loss.bandwidths.u=0", "evaluator=[linear]"], ["loss.bandwidths.u=0", "> 0"]),
    ],
    ids=lambda x: x[0],
)
def test_what_a_gaussian_run_cannot_be(cli, words, said):
    result = cli("mmcl", "check", "experiment=perspective/gaussian", *words)
    assert result.code != 0
    line = result.err.strip()
    assert "\n" not in line
    for word in said:
        assert word in line
