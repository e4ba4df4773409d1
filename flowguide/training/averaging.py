"""Power-function averages of a run's weights, of any length, after it was trained."""

from pathlib import Path

from . import checkpoint
from .averages import Synthesis, synthesise
from .run_folder import RunFolder


def averaged(path: str | Path, sigma_rel: float, step: int | None = None) -> Synthesis:
    """The weights of a run averaged over a relative width, from its snapshots.

    Args:
        path: A run folder, or a checkpoint file in one, whose step is then taken.
        sigma_rel: Relative width of the average, at most 1/sqrt(12).
        step: Up to which it goes; the last snapshot's if None.
    Raises:
        ValueError: if there is no such run or average, or no snapshot as late as ``step``.
    """
    if not hasattr(sigma_rel, "__float__"):
        raise ValueError(
            f"an average is named by its relative width, a number as 0.05 (ema=0.05), not {sigma_rel!r:.80}; ema=True "
            f"takes the averaged weights of training, ema=False those of its last step"
        )
    path = Path(path)
    if checkpoint.is_checkpoint(path):
        run = RunFolder(path.parent.parent)
        step = checkpoint.read_meta(path)["step"] if step is None else step
    else:
        run = RunFolder(path)
        run.config()
    files = run.snapshots()
    if not files:
        raise ValueError(
            f"there are no snapshots of averages in {run.averages}, so none of width {sigma_rel:g} can be made; a run "
            f"keeps them if it is trained with training.ema_lengths='[0.05,0.1]'"
        )
    return synthesise(files, sigma_rel, step)


def write_averaged(path: str | Path, sigma_rel: float, step: int | None = None) -> tuple[Path, Synthesis]:
    """Make an average and write it beside the snapshots, as a checkpoint that everything takes which loads one.

    Args:
        path, sigma_rel, step: As those of :func:`averaged`.
    Returns:
        The file, and what is in it.
    """
    made = averaged(path, sigma_rel, step)
    home = Path(path).parent.parent if checkpoint.is_checkpoint(Path(path)) else Path(path)
    width = f"{sigma_rel:.3f}" if round(sigma_rel, 3) == sigma_rel else repr(sigma_rel)
    at = f"_step-{made.profile.step:08d}" if step is not None or checkpoint.is_checkpoint(Path(path)) else ""
    file = RunFolder(home).averages / f"sigma_rel-{width}{at}.safetensors"
    meta = {"step": made.profile.step, "config": made.config, "sigma_rel": sigma_rel, "residual": made.residual}
    checkpoint.write(file, {f"ema.{name}": tensor for name, tensor in made.tensors.items()}, meta)
    return file, made
