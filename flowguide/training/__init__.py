"""Training: the loop, moving averages, checkpoints and run folders."""

from . import checkpoint, sharded
from .assemble import build_conditioner, build_dataset, build_model, device_of, load, load_generative
from .averaging import averaged, write_averaged
from .checkpoint import read_meta
from .conditions import Asking
from .config import TrainConfig, check_seed
from .decoding import Decoder, pixel_data
from .interruption import Interrupted
from .models import with_models
from .options import TrainingOptions
from .ranks import Ranks, joined
from .run_folder import RunFolder
from .samples import check_temperature, samples, some_samples
from .train import train

__all__ = [
    "Asking",
    "Decoder",
    "Interrupted",
    "Ranks",
    "RunFolder",
    "TrainConfig",
    "TrainingOptions",
    "averaged",
    "build_conditioner",
    "build_dataset",
    "build_model",
    "check_seed",
    "check_temperature",
    "checkpoint",
    "device_of",
    "joined",
    "load",
    "load_generative",
    "pixel_data",
    "read_meta",
    "samples",
    "sharded",
    "some_samples",
    "train",
    "with_models",
    "write_averaged",
]
