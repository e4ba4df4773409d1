"""What ``--help`` says. Text only, so that it comes at once."""

USAGE = """\
flowguide: guided flow-matching and score-SDE generative models

  flowguide train RECIPE [setting=value ...]      train a model          -> runs/RECIPE
  flowguide sample RUN [setting=value ...]        draw samples from it   -> RUN/samples
  flowguide evaluate RUN [setting=value ...]      measure it against w   -> RUN/evaluation
  flowguide ema RUN --sigma-rel 0.05              average its weights over another length
  flowguide encode AUTOENCODER out=...            write the latents of a data set, to train on
  flowguide import FILE format=... out=...        make a run of a published model
  flowguide list [KIND]                           what there is to choose from
  flowguide COMMAND --help                        more about one of them

for example:
  flowguide train digits
  flowguide sample runs/digits guidance.w=3 solver=euler solver.steps=50 num=100
  flowguide evaluate runs/digits 'guidance.w=[0,1,2,4]'

Settings are hydra's: network=mlp chooses a component, training.steps=500 sets an option, and
--multirun with values after commas runs every combination.
"""

TRAIN = """\
flowguide train RECIPE [setting=value ...] [--multirun]

Train what a recipe describes. RECIPE is a YAML file of your own, or a name:
{recipes}.
The run goes to runs/RECIPE: configuration, environment, checkpoints, TensorBoard logs. The same command
goes on with a run that was interrupted (Ctrl-C saves first), to the bit.

choose a component       data= path= network= objective=     (see: flowguide list)
which data               data=glyphs data.size=32 data=image_folder data.folder=photos data.size=64
set its options          network.width=64 objective.label_dropout=0.2 path.beta_max=10
what it is told          conditioner=text conditioner.encoder=FOLDER (captions), conditioner=attributes; default: labels
  and a small image      conditioner=low_resolution conditioner.size=16 conditioner.beside=text   (see: docs/cascade.md)
which times, which pairs objective.time=logit_normal objective.coupling=conditional_ot
how to weigh the times   objective=dsm objective.weighting=min_snr
from data to data        source=eight_gaussians              (what the flow starts from; default: noise)
set the training         training.steps=3000 training.batch_size=256 training.learning_rate=1e-3
                         training.ema=0.999 training.warmup=100 training.save_every=500
look while it trains     watch=quality watch.every=500 (samples, metrics, and RUN/best.safetensors)
make it fast             training.precision=bfloat16 training.compile=true training.optimizer=muon
fit it into memory       training.accumulate=4 network.checkpointing=true
on several GPUs          torchrun --nproc-per-node 8 -m flowguide train RECIPE [training.parallel=fsdp]
keep averages            'training.ema_lengths=[0.05,0.1]' training.snapshot_every=100   (see: flowguide ema --help)
what is predicted        predicts=velocity | score | noise | data | v | edm (sigma_data=0.5)
where and how            run=runs/mine seed=1 device=cuda fresh=true (start over) training.log=wandb --quiet
with other settings      --allow       (go on with the run in the folder nevertheless, taking what fits)
your own components      imports=[my_module]
sweep                    --multirun objective.label_dropout=0.05,0.1,0.2,0.5
on a cluster             --multirun hydra/launcher=slurm hydra.launcher.partition=gpu seed=0,1,2
look without running     --cfg job
try it on a CPU          --smoke       (three steps of a tiny network; for recipes that want a GPU)

for example:
  flowguide train digits
  flowguide train moons path=vp predicts=noise run=runs/moons_vp
  flowguide train digits --multirun seed=0,1,2
  flowguide train digits_noisy_classifier path=vp run=runs/vp_classifier
"""

SAMPLE = """\
flowguide sample RUN [setting=value ...]

Draw samples from a trained run (a run folder, or one of its checkpoint files) and write them to RUN/samples
as a picture (.png) and as tensors (.safetensors: data, and labels if there are any). The name of both says the rule and
its weight, the solver, the seed, and what else is not as it is by default; of longer settings it has a digest.
A run with a source starts from the source's held-out samples, any other from noise.

guidance                 guidance=cfg guidance.w=3     (0 unconditional, 1 conditional, above 1 guided)
no guidance              '~guidance'   (the conditional samples; and those of a run that takes no conditions)
another model in a rule  guidance=classifier guidance.classifier=runs/digits_noisy_classifier (a run folder)
what is seen             guidance=dps 'guidance.observation={{name: mask, std: 0.1}}' guidance.observed=seen.npy
a weight per time        'guidance.w={{name: linear, start: 1, end: 4}}'    (see: flowguide list schedules)
a rule within a rule     guidance=interval guidance.w=3 guidance.low=0.2 guidance.high=0.8 guidance.rule=apg
solver                   solver=auto solver.steps=20   (see: flowguide list solvers)
what                     num=64 cond=7 cond=[0,1,2,3] with num=4; default: all classes in turn
of a run of captions     'cond=a red letter B in serif'; default: those of held-out samples in turn
  away from, and several guidance=negative 'guidance.negative=a blurry letter';
                         guidance=multi 'guidance.labels=[a red letter A, a letter B in serif]'
of one of attributes     'cond={{character: B, colour: red}}'
a cascade, in RUN's place cascade=[runs/base,runs/sr] augmentation=0.1; or of each run what is its own:
                         'cascade=[{{run: runs/base, guidance: {{name: cfg, w: 2}}}}, {{run: runs/sr, guidance: null}}]'
                         cond is told to each stage in its own way: a label to one, say, and a caption to another
randomness               seed=0: sample i of a seed is the same in every batch
which weights            ema=true, false (those of the last step), or the width of another average: ema=0.05
the rest                 out=folder batch_size=256 device=cuda imports=[my_module]

for example:
  flowguide sample runs/digits guidance.w=2
  flowguide sample runs/digits cond=3 num=16 solver=torchdiffeq solver.rtol=1e-6
  flowguide sample runs/digits --multirun guidance.w=1,2,4
  flowguide sample runs/digits guidance=classifier guidance.classifier=runs/digits_noisy_classifier guidance.w=4
"""

EVALUATE = """\
flowguide evaluate RUN [setting=value ...]

Measure a trained run at several guidance weights: Frechet distance, Inception-style score and label accuracy, in the
features of a classifier that flowguide trains on the run's own data set, once, and keeps. Prints a table and writes
RUN/evaluation/quality.csv and .json. Finished points are kept, and so is what features see in the real data.

guidance weights         'guidance.w=[0,1,2,4]'
seeds                    'seeds=[0,1,2]' gives means and standard deviations
samples                  num=1000; default: as many as there are held-out data
guidance, solver         guidance=cfg solver=auto solver.steps=10; without any, as of runs without labels: '~guidance'
w as a shape in time     guidance=schedule guidance.shape=cosine guidance.rule=cfg
metrics                  metrics=[frechet_distance,precision,recall,memorisation]   (see: flowguide list metrics)
features                 features=identity (points), inception (the FID of the literature), dinov2; see: list features
real data                'reference={{name: image_folder, folder: photos, size: 32}}'; default: the run's training data
a cascade, in RUN's place cascade=[runs/base,runs/sr] augmentation=0.1: the weights are those of the stages that say
                         nothing of their own guidance; the data, of the last run; tables in RUN/evaluation/cascade
                         'cascade=[{{run: runs/base, guidance: {{name: cfg, w: 1.5}}}}, runs/sr]'
which weights            ema=true, false (those of the last step), or the width of another average: ema=0.05
the rest                 out=folder batch_size=256 device=cuda imports=[my_module]
try it on a CPU          --smoke       (a few samples, and a classifier of two steps)

for example:
  flowguide evaluate runs/digits
  flowguide evaluate runs/moons features=identity 'metrics=[sliced_wasserstein,mmd]'
  flowguide evaluate runs/digits 'guidance.w=[1,1.5,2]' 'seeds=[0,1,2]' solver=euler solver.steps=40
"""

EMA = """\
flowguide ema RUN --sigma-rel WIDTH [--step STEP]

Average the weights of a trained run over another length, from the snapshots that it keeps if it is trained with
'training.ema_lengths=[0.05,0.1]'. WIDTH is the standard deviation of the average's weights in time over the length of
the run, up to 0.2887; several make several files. They go to RUN/averages, and are checkpoints for every command.
What is printed is the share of what averaging does to the last weights that the new average is expected to miss.

widths                   --sigma-rel 0.05    sigma_rel=0.05    'sigma_rel=[0.03,0.05,0.1]'
up to which step         --step 1000    step=1000; default: the last snapshot's
without a file           ema=0.05 in flowguide sample and evaluate and in the scripts of analysis/

for example:
  flowguide train digits 'training.ema_lengths=[0.05,0.1]'
  flowguide ema runs/digits --sigma-rel 0.03
  flowguide sample runs/digits/averages/sigma_rel-0.030.safetensors
  python analysis/quality_vs_w.py runs/digits 'ema=[0.03,0.05,0.1,0.2]'
"""

ENCODE = """\
flowguide encode AUTOENCODER out=FOLDER [setting=value ...]

Write the latents of a data set, both splits, once; then train on them with data=latents data.folder=FOLDER. AUTOENCODER
is a run folder of an autoencoder, or a folder of diffusers' AutoencoderKL, or its name on the Hugging Face hub
(pip install 'flowguide[latent]'). FOLDER holds mean and standard deviation of all latents, those of mirror images too
if the data set has flip=true, labels and captions, statistics, checksums, and a copy of the autoencoder to decode with.
The same command goes on with an encoding that was interrupted. What is printed is how well held-out images are
reconstructed: the PSNR in dB.

which data               data=image_folder data.folder=photos data.size=256 data.flip=true
                         default: the data that the autoencoder was trained on
how they are kept        precision=float16 (or float32) shard_size=4096 (samples in one file)
the rest                 batch_size=64 device=cuda ema=true workers=4 imports=[my_module]

for example:
  flowguide encode runs/glyphs_vae out=runs/glyphs_latents
  flowguide encode stabilityai/sd-vae-ft-mse out=runs/photo_latents data=image_folder data.folder=photos data.size=256
  flowguide train glyphs_latent_dit data.folder=runs/glyphs_latents
"""

IMPORT = """\
flowguide import FILE format=FORMAT out=RUN [option=value ...]

Make a run folder of a published model, for sample and for guidance. Only tensors are read from the file: no code of it
is run. A file that leaves one tensor unused, or one missing, is refused.

formats                  format=adm    OpenAI's guided-diffusion: U-Nets, upsamplers, noisy classifiers (.pt)
                         format=dit, format=sit    DiT and SiT as published (.pt)
                         format=diffusers_dit      a folder of diffusers with a DiT (config.json, .safetensors)
                         format=edm    EDM: its ADM and DDPM++ (.pkl, whose code is not run, or .safetensors)
                         format=diffusers_unet     a folder of diffusers with a UNet2DModel (config.json, .safetensors)
what a file cannot tell  like=256x256_diffusion, or each by itself: head_width=64 schedule=linear size=[256, 256]
                         (see: flowguide list formats)
the rest                 imports=[my_module]

for example:
  flowguide import DiT-XL-2-256x256.pt format=dit out=runs/dit
  flowguide import 64x64_diffusion.pt format=adm out=runs/adm_64
  flowguide import 64x64_classifier.pt format=adm out=runs/adm_64_classifier
  flowguide sample runs/adm_64 guidance=classifier guidance.base=conditional \\
    guidance.classifier=runs/adm_64_classifier
"""

LIST = """\
flowguide list [KIND] [imports=[my_module]]
flowguide list networks --verbose

What there is to choose from: all names, or those of one KIND with what they are and their options. --verbose adds the
parameters and floating-point operations of every network and its published sizes.

kinds: {kinds}
"""


def of(command: str) -> str:
    """The help of one command."""
    import textwrap

    from .listing import KINDS
    from .recipes import names

    texts = {"train": TRAIN, "sample": SAMPLE, "evaluate": EVALUATE, "ema": EMA}
    texts |= {"encode": ENCODE, "import": IMPORT, "list": LIST}
    kinds = textwrap.fill(", ".join(KINDS), 100, subsequent_indent=" " * len("kinds: "))
    return texts[command].format(recipes=textwrap.fill(", ".join(names()), 100), kinds=kinds)
