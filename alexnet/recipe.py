"""The recipes, and every switch by which they differ.

`source` is the original configuration 145, whose logged errors are the paper's numbers; `paper` is
the text to the letter; the others are the ports that people call AlexNet (`ports.py`). A `Recipe`
is one value for each switch; `docs/deviations.md` is made of `switches()`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from alexnet.ports import PORTS

Name = Literal["source", "paper", "caffe", "caffenet", "torchvision", "one-weird-trick"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True)
class Switch:
    """One disagreement between the paper and its source, or between both and a port.

    Attributes:
        name: of the field of `Recipe`, and of the key under `recipe` in params.yaml.
        source, paper: its value in the recipe of that name.
        choices: the values it can have; None: any number within `bounds`.
        bounds: lowest and highest number, both included; None where there are choices or no limits.
        meaning: what it switches.
        source_evidence, paper_evidence: the file of the original source, and the section of the
            paper.
        effect: what it is expected to change.
    """

    name: str
    source: Any
    paper: Any
    choices: tuple[Any, ...] | None
    bounds: tuple[float, float] | None
    meaning: str
    source_evidence: str
    paper_evidence: str
    effect: str


def _switch(source: Any, paper: Any, meaning: str, source_evidence: str, paper_evidence: str,
            effect: str, bounds: tuple[float, float] | None = None) -> Any:
    return field(metadata={
        "source": source, "paper": paper, "meaning": meaning, "source_evidence": source_evidence,
        "paper_evidence": paper_evidence, "effect": effect, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """Every choice that paper, source or a port make differently, or that readers commonly
    change."""

    # The network (section 3)
    lrn_divisor: Literal["window", "none"] = _switch(
        "window", "none",
        "what LRN's alpha is divided by: the window's 5 channels, or nothing",
        "S layer.py NormLayerParser: scale /= size",
        "P §3.3: the formula has alpha alone",
        "a factor of five in the normalisation's strength")
    lrn_k: Literal[2, 1] = _switch(
        2, 2,
        "the constant that LRN adds to the sum of squares",
        "S layer-params-145.cfg: rnorm1a minDiv=2",
        "P §3.3: k = 2",
        "1 in Caffe, whose responses are 2 ** 0.75 = 1.7 times as large where squares are small")
    lrn_window: Literal["column", "layer"] = _switch(
        "column", "layer",
        "where an LRN window is cut off: at the edge of the column, or of the whole layer",
        "S layers-145.cfg: rnorm1a/b, rnorm2a/b are separate layers",
        "P §3.3: N is the number of kernels in the layer",
        "channels 46-49 of layer 1 and 126-129 of layer 2; with `layer` the GPUs exchange two "
        "channels each")
    layer1_order: Literal["norm-pool-relu", "relu-norm-pool", "relu-pool-norm",
                          "relu-pool"] = _switch(
        "norm-pool-relu", "relu-norm-pool",
        "the order of what follows conv1",
        "S layers-145.cfg: conv1 -> rnorm1 -> pool1 with neuron=relu on pool1",
        "P §3.3, §3.5: ReLU, LRN, pool",
        "negative responses enter the LRN denominator; the ReLU sees a quarter of the values")
    layer2_order: Literal["relu-norm-pool", "relu-pool-norm", "relu-pool"] = _switch(
        "relu-norm-pool", "relu-norm-pool",
        "the order of what follows conv2",
        "S layers-145.cfg: conv2 neuron=relu -> rnorm2 -> cnorm2 -> pool2",
        "P §3.3, §3.5: ReLU, LRN, pool",
        "`relu-pool-norm` normalises a quarter of the values (CaffeNet's \"accident\"); "
        "`relu-pool` has no normalisation (torchvision)")
    spatial_norm: Literal[True, False] = _switch(
        True, False,
        "a second, same-map 5x5 normalisation between LRN and pooling in layer 2",
        "S layers-145.cfg: cnorm2a/b type=rnorm size=5 scale=0.001 pow=0.75",
        "not mentioned",
        "inside the paper's own numbers; its removal alone was never logged")
    crop_side: Literal[224, 227] = _switch(
        224, 224,
        "side of the input, in pixels",
        "S shownet.py: windows of 224; 256 less borders of 16",
        "P §3.5, §4.1, Fig. 2",
        "227 with `conv1_padding: none` gives 55 outputs, too; it leaves 30 x 30 offsets")
    conv1_padding: Literal["right-bottom", "symmetric", "none"] = _switch(
        "right-bottom", "symmetric",
        "how a 224 input gives 55 outputs: 3 zeros right and bottom, or 2 on every side; `none` "
        "takes an input of 227, and of 224 it makes 54",
        "S layer.py: 1 + ceil((224 - 11) / 4) = 55, reads outside the image give 0",
        "P §3.5 gives 224 and Fig. 2 gives 55 without saying how",
        "a shift of conv1's grid by two pixels")
    conv345_init_std: float = _switch(
        0.03, 0.01,
        "standard deviation of the initial weights of conv3, conv4 and conv5",
        "S layers-145.cfg: initW=0.03",
        "P §5: 0.01 in each layer",
        "the signal at the logits at the start: 0.05 against 0.0035 (facts of ImageNet input)",
        bounds=(1e-6, 1.0))
    fc67_init_std: float = _switch(
        0.01, 0.01,
        "standard deviation of the initial weights of fc6 and fc7",
        "S layers-145.cfg: initW=0.01",
        "P §5: 0.01 in each layer",
        "small",
        bounds=(1e-6, 1.0))
    init: Literal["normal", "torch"] = _switch(
        "normal", "normal",
        "the distribution of the initial weights and biases: Gaussians of the stated deviations "
        "and the stated biases; or PyTorch's default, weights and biases uniform within "
        "1 / sqrt(inputs of a unit)",
        "S layers-145.cfg: initW, initB",
        "P §5: zero-mean Gaussian, constant biases",
        "`torch` presumes inputs near 1 and not of 0..255")
    init_bias: float = _switch(
        1.0, 1.0,
        "initial biases of conv2, conv4, conv5, fc6 and fc7",
        "S layers-145.cfg: initB=1",
        "P §5: 1 in the second, fourth and fifth convolutional layers and in the hidden fully "
        "connected ones",
        "which units are alive at first; 0.1 in bvlc_alexnet, whose readme says that 1 stalled",
        bounds=(-10.0, 10.0))
    fc8_init_bias: float = _switch(
        0.0, 0.0,
        "initial biases of fc8",
        "S layers-145.cfg: no initB",
        "P §5: 0 in the remaining layers",
        "none in the softmax: the same number in each class",
        bounds=(-10.0, 10.0))
    dropout_place: Literal["after", "before"] = _switch(
        "after", "after",
        "where dropout is: after fc6 and fc7, or before them",
        "S layers-145.cfg: dropout1 and dropout2 read fc4096a and fc4096b",
        "P §4.2: in the first two fully connected layers, on the output of each hidden neuron",
        "`before` silences half of the pooled maps, and nothing of what fc8 reads")
    dropout_scaling: Literal["test", "train"] = _switch(
        "test", "test",
        "where dropout is compensated: outputs x 0.5 in testing (2012), or x 2 in training (today)",
        "S layer type hs, keep=0.5",
        "P §4.2: multiply the outputs by 0.5 at test time",
        "`train` doubles the inputs of fc7 and fc8 in training relative to 2012")

    # How it learns (section 5)
    weight_lr: float = _switch(
        0.01, 0.01,
        "initial learning rate of the weights",
        "S layer-params-145.cfg: epsW=0.01",
        "P §5",
        "both agree",
        bounds=(0.0, 10.0))
    bias_lr: float = _switch(
        0.02, 0.01,
        "initial learning rate of the biases",
        "S layer-params-134.cfg: epsB=0.02",
        "P §5: an equal learning rate for all layers",
        "biases move twice as fast",
        bounds=(0.0, 10.0))
    weight_decay: float = _switch(
        0.0005, 0.0005,
        "weight decay of the weights",
        "S layer-params-145.cfg: wc=0.0005",
        "P §5",
        "both agree; 0 for the training without regularisation of Fig. 1; layers of the CIFAR-10 "
        "net have multiples of it",
        bounds=(0.0, 1.0))
    bias_decay: float = _switch(
        0.0, 0.0005,
        "weight decay of the biases",
        "S src/layer.cu WeightLayer: hard-coded 0",
        "our reading of P §5, whose rule is for \"the weight w\" and makes no exception for biases",
        "draws the initial ones towards zero",
        bounds=(0.0, 1.0))
    bias_schedule: Literal["constant", "with weights", "one drop"] = _switch(
        "constant", "with weights",
        "how the biases' learning rate drops: never, with the weights', or once, at half of the "
        "run, by 10 (dexp has the one drop where this is `constant`, too)",
        "S layer-params-145.cfg, 148: epsB=0.02 at the end. The runs that the paper compares "
        "differ: 145-2010 (Table 1), 147, 131, 135, 137 end at 0.002 without saying since when, "
        "145-half at 0.002 in conv1 and conv2 alone; half of the run is C2's dexp",
        "P §5: divided by 10 for all layers",
        "late training with biases 20 to 2000 times faster than weights")
    schedule: Literal["hand", "hand-2010", "hand-147", "hand-148", "fine-tuning", "dexp",
                      "step-20", "step-30", "flat"] = _switch(
        "hand", "hand",
        "the drops of the learning rate, and when conv1 is frozen and colour noise ends: as the "
        "log of a run of 2012 has them, `hand` (#145), `hand-2010` (#145 on ILSVRC-2010), "
        "`hand-147`, `hand-148`, `fine-tuning` (#146 from Fall 2011 to 2012); the automatic "
        "`dexp`: four equal steps of the run, factor 250 in all (biases 10, two steps); "
        "a drop every 20 of 90 epochs, `step-20` (Caffe), or every 30, `step-30` (torchvision); "
        "or no drops, `flat`. [Below](#the-schedules-of-2012) are the epochs",
        "S layer-params-145.cfg comments; S #170 for dexp",
        "P §5: divided by 10 three times, epochs not given",
        "dexp was judged equal by the author: #170 has 40.53 / 18.05 against 40.66 / 18.21")
    conv1_freezing: Literal[True, False] = _switch(
        True, False,
        "conv1's weights slowed to 1e-5 at epoch 67 of 91, its weights and biases frozen at 72",
        "S layer-params-145.cfg: comments; epsW=0.000 and epsB=0.0 at its end, as in 145-2010, "
        "146-2012-2011, 147 and 148. When the biases were frozen is not logged: we take it to be "
        "with the weights",
        "not mentioned",
        "small")
    momentum_at_drop: Literal["kept", "rescaled"] = _switch(
        "kept", "kept",
        "the velocity at a drop of the learning rate: kept (the rate is inside the velocity, "
        "2012), or rescaled with the rate (as torch.optim.SGD has it)",
        "S src/weights.cu update()",
        "P §5: the update rule",
        "about ten steps of larger updates after a drop")

    # What it sees (section 4)
    input: Literal["mean image", "channels"] = _switch(
        "mean image", "mean image",
        "what is subtracted of grey levels of 0..255: the mean image; or, of each channel, "
        "ImageNet's mean as torchvision has it, and the rest is divided by ImageNet's standard "
        "deviation",
        "S convdata_jpeg.py: data_mean",
        "P §2: the mean activity over the training set from each pixel",
        "`channels` has inputs near 1, 58 times smaller: initial weights and rates are not of one "
        "without the other")
    colour_noise: Literal["stdev", "eigenvalue", "eigenvalue-unit", "none"] = _switch(
        "stdev", "eigenvalue",
        "what a principal component of colour is multiplied by, besides 0.1 x a Gaussian: its "
        "standard deviation, its eigenvalue on the 0..255 scale (the letter), its eigenvalue with "
        "pixels in 0..1 (a common reading), or no noise at all",
        "S convdata_jpeg.py: color_stdevs",
        "P §4.1: [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T, raw RGB pixel values (§2)",
        "on ImageNet's first component: 12 grey levels, 1483, or 5.8")
    noise_division: Literal[True, False] = _switch(
        True, False,
        "the image divided by 1 + 0.1 while there is noise",
        "S convdata_jpeg.py",
        "not mentioned",
        "keeps the scale of training near that of testing")
    noise_off_late: Literal[True, False] = _switch(
        True, False,
        "colour noise switched off from epoch 67 of 91",
        "S layer-params-145.cfg comments; #147, of §3.4, logs no such epoch",
        "not mentioned",
        "the last quarter of training sees the colours of testing")
    crops: Literal["random", "centre", "whole", "resized"] = _switch(
        "random", "random",
        "the training crops: at random, half of them mirrored; always the centre, as it is; or, on "
        "CIFAR-10, the whole image of 32 x 32; or torchvision's RandomResizedCrop, of 8 % to 100 % "
        "of the stored image and an aspect of 3/4 to 4/3, half of them mirrored",
        "S convdata_jpeg.py; convdata_cifar.py: CroppedCIFARDataProvider, and without augmentation "
        "CIFARDataProvider, whose inputs are 32 x 32",
        "P §4.1",
        "`centre` and `whole` are training without this augmentation, as in Fig. 1 (§3.1)")
    crop_offsets: Literal[33, 32] = _switch(
        33, 32,
        "positions of the 224 crop per axis: 33 x 33 x 2 = 2178 variants, or 32 x 32 x 2 = 2048",
        "S convdata_jpeg.py: randint(0, 33)",
        "P §4.1: a factor of 2048",
        "none")
    images_per_crop: Literal[32, 1] = _switch(
        32, 1,
        "consecutive images that share crop position and flip",
        "S convdata_jpeg.py: crop_chunk=32",
        "P §4.1: random patches, per image",
        "noisier gradients: four draws in a batch of 128")
    mean_window: Literal["centre", "crop"] = _switch(
        "centre", "crop",
        "the window of the mean image that is subtracted: the central one, or the crop's own",
        "S convdata_jpeg.py: data_mean_crop",
        "P §2: subtract the mean from each pixel, then crop (§4.1)",
        "small: the mean image is smooth")
    order: Literal["file", "epoch"] = _switch(
        "file", "epoch",
        "the order of the images: that of the store, shuffled once when written; or shuffled anew "
        "every epoch",
        "C2 make-data.py, python_util/data.py",
        "our reading: nothing in the text shuffles; `epoch` is today's habit",
        "which images share a batch")

    def __post_init__(self) -> None:
        for switch in switches():
            problem = self.problem_with(switch, getattr(self, switch.name))
            if problem:
                raise ValueError(f"recipe.{switch.name}: {problem}")

    @staticmethod
    def problem_with(switch: Switch, value: Any) -> str | None:
        """Return what is wrong with this value for this switch, or None."""
        if switch.choices is not None:
            same_type = type(value) is type(switch.choices[0])  # 1 == True, 33 == 33.0
            if value not in switch.choices or not same_type:
                return f"{value!r} is not one of {', '.join(map(str, switch.choices))}"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        elif switch.bounds and not switch.bounds[0] <= value <= switch.bounds[1]:
            return f"{value!r} is not between {switch.bounds[0]:g} and {switch.bounds[1]:g}"
        return None


@functools.cache
def switches() -> tuple[Switch, ...]:
    """Return every switch, in the order of the paper's sections."""
    hints = get_type_hints(Recipe)
    return tuple(Switch(name=f.name, choices=get_args(hints[f.name]) or None, **f.metadata)
                 for f in fields(Recipe))


def recipe(name: Name = "source", **overrides: Any) -> Recipe:
    """Return the recipe of that name, with single switches changed by `overrides`.

    Raises:
        ValueError: an unknown recipe, an unknown switch or a value out of range, named.
    """
    if name not in NAMES:
        raise ValueError(f"recipe.name: {name!r} is not one of {', '.join(NAMES)}")
    values = {switch.name: switch.paper if name == "paper" else switch.source
              for switch in switches()}
    if name in PORTS:
        values |= {switch: decided.value for switch, decided in PORTS[name].switches.items()}
    for unknown in overrides.keys() - values.keys():
        raise ValueError(f"recipe.{unknown}: no such switch; there are {', '.join(values)}")
    return Recipe(**values | overrides)


def evidence(name: Name, switch: Switch) -> str:
    """Return where it stands that a recipe has its value of this switch; "" where a port's files do
    not say, and it is as in `source`."""
    if name in PORTS:
        decided = PORTS[name].switches.get(switch.name)
        return decided.evidence if decided else ""
    return switch.paper_evidence if name == "paper" else switch.source_evidence
