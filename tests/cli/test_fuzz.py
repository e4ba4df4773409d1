"""Whatever the override, the command line ends in success or in one clear sentence."""

import contextlib
import io
import os
import tempfile

import pytest
from command_line import TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowguide.cli import main

# Sizes stay small: what is asked for is done, however long it takes.
KEYS = """run seed device imports fresh predicts sigma_data
out training training.steps training.batch_size training.learning_rate
training.warmup training.decay training.clip training.ema training.ema_warmup
training.ema_lengths training.snapshot_every training.save_every training.keep data data.count data.seed
data.noise data.name path path.name path.beta_min network network.width network.depth network.dim network.num_classes
network.name source source.name objective objective.label_dropout objective.time objective.coupling network.network
objective.quasi_conservative objective.weighting objective.name hydra.run.dir hydra.job.name solver x a.b""".split()
SAMPLE_KEYS = """out num cond seed batch_size device ema imports guidance guidance.w guidance.name solver solver.steps
guidance.classifier guidance.base
solver.grid solver.t_start solver.t_end solver.name solver.rtol home x""".split()
VALUES = """null true false -1 0 1 2 3 2.5 0.5 1e-3 -0.0 nan inf -inf 1e400 abc '' "" [] [1] [1,2] [a,b] [null] {} {a:1}
{name:linear} {name:snr} dsm ot importance
{name:classifier,classifier:ready} classifier noisy_classifier mlp_classifier
{name:mlp} {name:energy} {weight:1} energy {name:cfg,w:2}
linear vp mlp unet convnet cfm classification euler heun torchdiffeq cfg uniform
moons digits cpu auto velocity noise edm cosine constant ??? ${x} ${seed} ${oops:1} [ ] { } = , ' " \\ 1,2 a=b name
interval(1,2) choice(1,2) glob(*) 'a b' é 数 ~ @ % : a:b /dev/null/x ../x""".split()

keys = st.sampled_from(KEYS) | st.text(max_size=6)
values = (
    st.sampled_from(VALUES) | st.integers(-3, 3).map(str) | st.floats(-3, 3, width=16).map(str) | st.text(max_size=6)
)
prefixes = st.sampled_from(["", "", "", "", "+", "++", "~"])


def override(key_strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda p, k, v: f"{p}{k}={v}", prefixes, key_strategy, values) | st.text(max_size=8)


def ends_well(words: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    assert code in (0, 2), (words, code, err.getvalue())
    assert "Traceback" not in err.getvalue(), (words, err.getvalue())
    if code == 2:
        lines = [line for line in err.getvalue().splitlines() if line.startswith("flowguide: ")]
        assert len(lines[-1]) > 20, (words, err.getvalue())


@pytest.fixture(scope="module")
def folder():
    """A folder to run in, with a trained run; one for all examples, since hypothesis runs them in one test."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        ends_well(["train", "moons", *TINY, "run=ready"])
        yield place
        os.chdir(before)


tolerant = settings(suppress_health_check=list(HealthCheck), max_examples=60)


@tolerant
@given(st.lists(override(keys), min_size=1, max_size=2))
def test_train(folder: str, words: list[str]) -> None:
    if any("digits" in word and word.startswith("data") for word in words):
        return  # valid, and slow
    ends_well(["train", "moons", *TINY, "fresh=true", *words])


@tolerant
@given(st.lists(override(st.sampled_from(SAMPLE_KEYS)), min_size=1, max_size=2))
def test_sample(folder: str, words: list[str]) -> None:
    ends_well(["sample", "ready", "num=2", "solver.steps=2", *words])


@tolerant
@given(st.lists(st.text(max_size=8), max_size=3))
def test_commands(folder: str, words: list[str]) -> None:
    ends_well(words)
