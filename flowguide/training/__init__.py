"""Training: the loop, moving averages, checkpoints and run folders."""

from . import checkpoint, sharded
from .assemble import build_conditioner, build_dataset, build_model, device_of, load, load_generative
from .averaging import averaged, write_averaged
from .cascade import cascade, cascade_conditions, load_stages, seed_of
from .checkpoint import read_meta
from .conditions import Asking, InTurn, in_turn
from .config import TrainConfig, check_seed
from .decoding import Decoder, pixel_data
from .held_out import held_out_images
from .interruption import Interrupted
from .models import with_models
from .options import TrainingOptions
from .ranks import Ranks, joined
from .run_folder import RunFolder
from .samples import check_temperature, samples, some_samples
from .stage import Stage
from .train import train

__all__ = [
    "Asking",
    "Decoder",
    "InTurn",
    "Interrupted",
    "Ranks",
    "RunFolder",
    "Stage",
    "TrainConfig",
    "TrainingOptions",
    "averaged",
    "build_conditioner",
    "build_dataset",
    "build_model",
    "cascade",
    "cascade_conditions",
    "check_seed",
    "check_temperature",
    "checkpoint",
    "device_of",
    "held_out_images",
    "in_turn",
    "joined",
    "load",
    "load_generative",
    "load_stages",
    "pixel_data",
    "read_meta",
    "samples",
    "seed_of",
    "sharded",
    "some_samples",
    "train",
    "with_models",
    "write_averaged",
]
