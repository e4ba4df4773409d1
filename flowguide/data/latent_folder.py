r"""A folder of latents, as ``flowguide encode`` writes it and the data set ``latents`` reads it.

::

    runs/glyphs_latents/
      manifest.json             of which data, by which autoencoder, which shards, and the latents' statistics
      autoencoder.safetensors   a checkpoint of the autoencoder, so that the folder can be decoded wherever it goes
      train-00000.safetensors   mean, std and label of each sample, and those of mirror images; captions
      ...

The manifest is written first and last, and says in between that it is not complete. Beside a shard that is whole lies
``train-00000.json``, what there is to say of it, until all are.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..digest import digest_of

FORMAT = 1
AUTOENCODER, MANIFEST = "autoencoder.safetensors", "manifest.json"


@dataclass(frozen=True)
class Moments:
    """Statistics of the latents of some samples, in float64, channel by channel.

    Attributes:
        count: Numbers in a channel.
        mean: Of the posteriors' means.
        squares: Sum of the squares of their distances from that mean.
        variance: Mean of the posteriors' variances.
    """

    count: int
    mean: Sequence[float]
    squares: Sequence[float]
    variance: Sequence[float]

    @classmethod
    def together(cls, several: Sequence["Moments"]) -> "Moments":
        """Of all samples of all, by the update of Chan, Golub & LeVeque (1983), which subtracts no large numbers."""
        total = several[0]
        for other in several[1:]:
            count = total.count + other.count
            if not other.count:
                continue
            share = other.count / count
            mean, squares, variance = [], [], []
            for channel in range(len(total.mean)):
                apart = other.mean[channel] - total.mean[channel]
                mean.append(total.mean[channel] + share * apart)
                squares.append(total.squares[channel] + other.squares[channel] + apart**2 * share * total.count)
                variance.append(total.variance[channel] + share * (other.variance[channel] - total.variance[channel]))
            total = cls(count, mean, squares, variance)
        return total

    def scale(self, sample: bool = False) -> list[float]:
        """The standard deviation of the means, or of samples of the posteriors; 1 where there is none."""
        spread = [squares / max(self.count, 1) for squares in self.squares]
        if sample:
            spread = [own + more for own, more in zip(spread, self.variance, strict=True)]
        return [math.sqrt(each) or 1.0 for each in spread]


@dataclass(frozen=True)
class Shard:
    """A file of latents.

    Attributes:
        file: Its name.
        samples: How many it holds, without mirror images.
        bytes, sha256: Its size, and its checksum in hex.
        moments: Of its latents, mirror images among them.
        squared_error: Of held-out images, the sum of the squared errors of reconstructed pixels, in [-1, 1].
    """

    file: str
    samples: int
    bytes: int
    sha256: str
    moments: Moments
    squared_error: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Shard":
        """Back from what :func:`dataclasses.asdict` makes of it."""
        return cls(**{**values, "moments": Moments(**values["moments"])})

    def is_in(self, folder: Path) -> bool:
        """Whether there is a file of its name and size."""
        file = folder / self.file
        return file.is_file() and file.stat().st_size == self.bytes

    def check(self, folder: Path, whole: bool) -> None:
        """ValueError if its file is not there or was changed; ``whole`` to read all of it for the checksum."""
        file = folder / self.file
        if not file.is_file():
            raise ValueError(f"{file} is gone: encode again into the same folder, which makes what is missing")
        if not self.is_in(folder) or (whole and sha256(file) != self.sha256):
            what = f"{file.stat().st_size} bytes in place of {self.bytes}" if not self.is_in(folder) else "its checksum"
            raise ValueError(f"{file} is damaged ({what}): remove it, and encode again into the same folder")


@dataclass(frozen=True)
class Manifest:
    """What a folder of latents says of itself.

    Attributes:
        data: Node of the data set that was encoded.
        source: Name of the autoencoder when it was, a run folder say; ``autoencoder.safetensors`` is a copy of it.
        autoencoder: Its digest.
        precision: Of the numbers in the shards.
        shard_size: Samples of the data set that went into one shard.
        counts: Samples of the data set, by split.
        image_shape, shape: Of an image, and of its latents.
        num_classes, classes, attributes: As of :class:`.Samples`; of the attributes, their names for their values.
        flip: Whether the shards to train on hold the latents of mirror images too.
        shards: By split; none before all are written.
    """

    data: Mapping[str, Any]
    source: str
    autoencoder: str
    precision: str
    shard_size: int
    counts: Mapping[str, int]
    image_shape: Sequence[int]
    shape: Sequence[int]
    num_classes: int | None
    classes: Sequence[str] | None
    attributes: Mapping[str, Sequence[str]]
    flip: bool
    shards: Mapping[str, Sequence[Shard]] = field(default_factory=dict)

    @cached_property
    def moments(self) -> Moments:
        """Of all latents to train on."""
        return Moments.together([shard.moments for shard in self.shards["train"]])

    @property
    def digest(self) -> str:
        """Of all that decoding depends on: the autoencoder, and the statistics by which latents are normalised."""
        return digest_of([self.autoencoder, asdict(self.moments)])

    @property
    def psnr(self) -> float:
        r"""The peak signal-to-noise ratio of reconstructed held-out images, in dB.

        :math:`10 \log_{10}(2^2 / \mathrm{MSE})` of pixels in [-1, 1], the mean taken over all pixels of all images.
        """
        held_out = self.shards["test"]
        numbers = sum(shard.samples for shard in held_out) * math.prod(self.image_shape)
        error = math.fsum(shard.squared_error or 0.0 for shard in held_out) / max(numbers, 1)
        return 10 * math.log10(4 / error) if error else math.inf

    def same_work(self, other: "Manifest") -> str | None:
        """None if the two say the same, but for shards; otherwise what they differ in, in words."""
        ours, theirs = (asdict(each) | {"shards": None, "source": None} for each in (self, other))
        if ours["autoencoder"] != theirs["autoencoder"]:
            return f"another autoencoder ({self.source}, sha256 {self.autoencoder[:12]})"
        different = [name for name in ours if ours[name] != theirs[name]]
        return f"another {different[0]} ({ours[different[0]]}, not {theirs[different[0]]})" if different else None

    def write(self, folder: Path) -> None:
        """Write it, at once."""
        write_json(folder / MANIFEST, {"format": FORMAT, "complete": bool(self.shards), **asdict(self)})


def read_manifest(folder: Path, complete: bool = True) -> Manifest:
    """The manifest of a folder of latents.

    Args:
        folder: Where it is.
        complete: Refuse one that is not finished.
    Raises:
        ValueError: if there is none, it is not finished, or it cannot be read.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise ValueError(f"{folder} holds no latents: there is no {MANIFEST}; 'flowguide encode' writes such a folder")
    try:
        values = json.loads(file.read_text())
        version, finished = values.pop("format"), values.pop("complete")
        if version != FORMAT:
            raise ValueError(f"it has the format {version}, and this flowguide reads {FORMAT}")
        if complete and not finished:
            autoencoder = values.get("source")
            raise ValueError(
                f"it is not complete: run 'flowguide encode {autoencoder} out={folder} ...' again, as before, to finish"
            )
        shards = {split: [Shard.of(each) for each in some] for split, some in values.pop("shards").items()}
        return Manifest(**values, shards=shards)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no manifest of latents ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{folder} cannot be read as a folder of latents: {error}") from None


def write_json(file: Path, values: Any) -> None:
    """Write a file of JSON, at once: a process that is killed leaves the old one or the new one."""
    part = file.with_name(f".{file.name}.part")
    with part.open("w") as opened:
        opened.write(json.dumps(values, indent=1) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(part, file)


def sha256(file: Path) -> str:
    """The checksum of a file, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
