"""The recipe: one frozen value that holds everything that can change a result, and nothing else.

Every field is either required or inert: its default always means "off" (or "the backbone's own"),
for ever. Good values live in `recipes.library` and in components. So a fingerprint may skip
defaults, and a new field never renames old runs.

The file is long because every leaf is declared here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from recipes.errors import RecipeError
from recipes.facts import Facts
from recipes.kind import Kind
from recipes.leaf import Switch, leaf
from recipes.schedule import Scalar

_TRAINING = (Kind.TRAINING,)
_REGULARIZATION = (Kind.REGULARIZATION,)
_AUGMENTATION = (Kind.AUGMENTATION,)
_ARCHITECTURE = (Kind.ARCHITECTURE,)


# Every choice of ResNet-D's parts but the usual one, which is spelled "": one spelling for each.
RESNET_D_PARTS = (
    "stem",
    "pool",
    "stride",
    "shortcut",
    "stem+pool",
    "stem+stride",
    "stem+shortcut",
    "pool+shortcut",
    "stride+shortcut",
    "stem+stride+shortcut",
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network. Widths, depths and parts are changed at build time, before any weight exists."""

    backbone: str = leaf("any timm image model")
    layers: tuple[int, ...] = leaf(
        "blocks per stage; empty: the backbone's own", (), kinds=_ARCHITECTURE, low=1
    )
    width: float = leaf("multiplies every width of a ResNet", 1.0, kinds=_ARCHITECTURE, above=0)
    se_ratio: float = leaf(
        "squeeze-and-excitation bottleneck over block width; 0: none",
        0.0,
        kinds=_ARCHITECTURE,
        low=0,
        high=1,
    )
    resnet_d: bool = leaf(
        "deep stem, strided convolution for max-pool, pooled shortcut", False, kinds=_ARCHITECTURE
    )
    resnet_d_parts: str = leaf(
        "only these parts; empty: stem+pool+shortcut, as in the code behind the paper's"
        " checkpoints. stride, of the paper's text, drops the max-pool and strides the first 3x3"
        " of the first stage instead",
        "",
        kinds=_ARCHITECTURE,
        switch=Switch(path="model.resnet_d"),
        choices=RESNET_D_PARTS,
    )
    dropout: Scalar = leaf(
        "probability before the classifier", 0.0, kinds=_REGULARIZATION, low=0, high=0.99
    )
    drop_path: Scalar = leaf(
        "stochastic depth rate of the last block", 0.0, kinds=_REGULARIZATION, low=0, high=0.99
    )
    drop_path_rule: str = leaf(
        "how the rate grows with depth: by stage (the paper's code) or linearly by block (timm)",
        "",
        kinds=_REGULARIZATION,
        switch=Switch(path="model.drop_path"),
        choices=("stage", "linear"),
    )
    zero_init_last: bool = leaf(
        "start the last norm of each residual branch at 0", False, kinds=_TRAINING
    )
    bn_momentum: float | None = leaf(
        "share of the new batch in the running statistics; none: the backbone's own",
        None,
        kinds=_REGULARIZATION,
        feeds_back=False,
        above=0,
        high=1,
    )
    facts: Facts | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images and how a training batch is cut from them."""

    dataset: str = leaf("name of the data set; its folder is not part of the recipe")
    resolution: int = leaf("training pixels per side", low=8, high=4096)
    interpolation: str = leaf("resampling", choices=("bilinear", "bicubic"))
    batch_size: int = leaf("images per optimiser step", low=2, kinds=_TRAINING)
    stored_size: int = leaf(
        "pixels per side of the decoded cache; 0: decode at every access", 0, low=0
    )
    train_fraction: float = leaf(
        "share of the training images that is used, by class", 1.0, above=0, high=1
    )
    minival_fraction: float = leaf(
        "share of the training images held out for choices, by name", 0.0, low=0, high=0.9
    )
    crop: str = leaf(
        "none (centre square), random_resized (torchvision's Inception crop), distorted"
        " (TensorFlow's, of the paper's code) or shift (pad and crop)",
        "none",
        kinds=_AUGMENTATION,
        choices=("none", "random_resized", "distorted", "shift"),
    )
    crop_area: float = leaf(
        "smallest share of the image that a crop covers",
        1.0,
        kinds=_AUGMENTATION,
        switch=Switch(path="data.crop", values=("random_resized", "distorted")),
        above=0,
        high=1,
    )
    crop_padding: int = leaf(
        "largest shift in pixels of the training resolution",
        0,
        kinds=_AUGMENTATION,
        switch=Switch(path="data.crop", values=("shift",)),
        low=0,
    )
    flip: bool = leaf("mirror every second image", False, kinds=_AUGMENTATION)
    decode: str = leaf(
        "training images from JPEG files at every access: exact, or scaled (at 1/2 or less while"
        " decoding, where the crop is shrunk at least as much)",
        "exact",
        kinds=_AUGMENTATION,
        choices=("exact", "scaled"),
    )


_RANDAUG = Switch(path="augment.randaug_layers")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to the pixels of a training batch after the crop."""

    randaug_layers: int = leaf(
        "RandAugment operations per image; 0: none", 0, kinds=_AUGMENTATION, low=0, high=16
    )
    randaug_magnitude: Scalar = leaf(
        "RandAugment magnitude, on the scale of the space",
        0.0,
        kinds=_AUGMENTATION,
        switch=_RANDAUG,
        low=0,
        high=30,
    )
    randaug_space: str = leaf(
        "whose operations and magnitude scale",
        "",
        kinds=_AUGMENTATION,
        switch=_RANDAUG,
        choices=("resnet_rs", "timm", "torchvision"),
    )
    randaug_pixel_scale: float = leaf(
        "multiplies the space's constants in pixels (translations, Cutout); set by data profiles",
        1.0,
        switch=_RANDAUG,
        above=0,
    )
    randaug_solarize_wrap: bool = leaf(
        "let Solarize's threshold wrap at 256, as TensorFlow's cast to uint8 does",
        False,
        kinds=_AUGMENTATION,
        switch=_RANDAUG,
    )


_MOMENTS = Switch(path="optim.optimizer", values=("adamw", "rmsprop_tf"))


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimiser, its schedule and what is averaged over its steps."""

    epochs: int = leaf("passes over the training images", low=1, high=100_000, kinds=_TRAINING)
    optimizer: str = leaf(
        "the update rule", kinds=_TRAINING, choices=("sgd", "adamw", "rmsprop_tf")
    )
    lr: float = leaf(
        "peak learning rate for 256 images; scales with the batch", kinds=_TRAINING, above=0
    )
    base_epochs: int = leaf(
        "epochs before a component lengthened them; 0: none did",
        0,
        kinds=_TRAINING,
        hashed=False,
        low=0,
    )
    momentum: Scalar = leaf(
        "momentum; for adamw the first beta", 0.0, kinds=_TRAINING, low=0, high=0.9999
    )
    nesterov: bool = leaf(
        "look ahead", False, kinds=_TRAINING, switch=Switch(path="optim.optimizer", values=("sgd",))
    )
    second_moment: float = leaf(
        "decay of the squared gradients (rmsprop's alpha, adamw's second beta)",
        0.0,
        kinds=_TRAINING,
        switch=_MOMENTS,
        low=0,
        high=0.99999,
    )
    epsilon: float = leaf(
        "added to the root of the squared gradients", 0.0, kinds=_TRAINING, switch=_MOMENTS, low=0
    )
    weight_decay: Scalar = leaf(
        "L2 coefficient; coupled, but decoupled for adamw",
        0.0,
        kinds=(Kind.REGULARIZATION, Kind.TRAINING),
        low=0,
        high=1,
    )
    decay_scope: str = leaf(
        "what decays: all, not_norm (all but norm layers, the paper's code) or kernels",
        "all",
        kinds=(Kind.REGULARIZATION, Kind.TRAINING),
        switch=Switch(path="optim.weight_decay"),
        choices=("all", "not_norm", "kernels"),
    )
    schedule: str = leaf(
        "shape of the learning rate after warm-up",
        "constant",
        kinds=_TRAINING,
        choices=("constant", "step", "cosine", "exponential"),
    )
    milestones: tuple[float, ...] = leaf(
        "progress at which the learning rate is multiplied",
        (),
        kinds=_TRAINING,
        switch=Switch(path="optim.schedule", values=("step",)),
        above=0,
        high=1,
    )
    decay_epochs: float = leaf(
        "epochs between multiplications",
        0.0,
        kinds=_TRAINING,
        switch=Switch(path="optim.schedule", values=("exponential",)),
        low=0,
    )
    decay_factor: float = leaf(
        "what the learning rate is multiplied by",
        1.0,
        kinds=_TRAINING,
        switch=Switch(path="optim.schedule", values=("step", "exponential")),
        above=0,
        high=1,
    )
    warmup_epochs: float = leaf(
        "epochs over which the learning rate grows linearly from 0", 0.0, kinds=_TRAINING, low=0
    )
    grad_clip: float = leaf(
        "largest norm of the whole gradient; 0: not clipped", 0.0, kinds=_TRAINING, low=0
    )
    ema_decay: Scalar = leaf(
        "decay of the average of weights and statistics; 0: none",
        0.0,
        kinds=_REGULARIZATION,
        feeds_back=False,
        low=0,
        high=1,
    )
    ema_warmup: bool = leaf(
        "start the average fast: decay at most (1 + k) / (10 + k) after k updates",
        False,
        kinds=_REGULARIZATION,
        switch=Switch(path="optim.ema_decay"),
        feeds_back=False,
    )
    precision: str = leaf("arithmetic of the network", "32", choices=("32", "bf16"))
    bn_batch: int = leaf(
        "images per batch-norm statistic in training, as on devices that share a batch; 0: all of"
        " the batch",
        0,
        low=0,
    )
    redraw: int = leaf(
        "another draw of every random stream, as from another seed; 0: the seed's own",
        0,
        kinds=_TRAINING,
        low=0,
        high=1_000_000,
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised beside the weight decay: cross-entropy, changed by these."""

    label_smoothing: Scalar = leaf(
        "share of each target that is spread over all classes",
        0.0,
        kinds=_REGULARIZATION,
        low=0,
        high=0.99,
    )


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """The protocol of a number, and which weights it is read from (a treatment, not protocol)."""

    split: str = leaf(
        "images that give the result", feeds_back=False, choices=("validation", "minival")
    )
    interpolation: str = leaf("resampling", feeds_back=False, choices=("bilinear", "bicubic"))
    resolution: int = leaf(
        "pixels per side; 0: the training resolution", 0, feeds_back=False, low=0
    )
    crop_fraction: float = leaf(
        "side of the centre crop over the short side", 1.0, feeds_back=False, above=0, high=1
    )
    weights: str = leaf(
        "last weights, or their average",
        "raw",
        kinds=_REGULARIZATION,
        feeds_back=False,
        choices=("raw", "ema"),
    )


HOOKS: dict[str, tuple[Kind, ...]] = {
    "model": _ARCHITECTURE,
    "batch": _AUGMENTATION,
    "loss": (Kind.REGULARIZATION, Kind.TRAINING),
    "optimizer": (Kind.TRAINING, Kind.REGULARIZATION),
}


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A user's callable at one of four hooks. Leaf `custom.<name>` of a recipe.

    `source` is the digest of the file that defines the callable, so that a changed function is
    another recipe. Called as `target(model, **arguments) -> model` (also `optimizer`),
    `target(images, targets, **arguments) -> (images, targets)` on the normalised float batch and
    class probabilities, or `target(logits, targets, **arguments) -> loss` (a scalar tensor).
    """

    name: str
    hook: str
    target: str  # "package.module:function"
    arguments: tuple[tuple[str, str | int | float | bool], ...] = ()
    source: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete training recipe.

    Raises:
        RecipeError: every value of a wrong type, out of its limits or in contradiction to another,
            told together.
    """

    model: Model
    data: Data
    augment: Augment = field(default_factory=Augment)
    optim: Optim
    loss: Loss = field(default_factory=Loss)
    evaluate: Evaluate
    task: str = leaf("what is learned", "classification", choices=("classification",))
    custom: tuple[Hook, ...] = ()

    def __post_init__(self) -> None:
        from recipes.validate import normalized, problems

        wrong = problems(self)
        if wrong:
            raise RecipeError(wrong)
        normalized(self)
