"""What people call AlexNet: the ports, as values of the recipe's switches, each with its file.

`PORTS["caffe"]` is bvlc_alexnet, and `recipe("caffe")` its values. A switch that a port does not
name stands as `source` has it. `OTHERS` are ports that no recipe has, with what each would take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Decided:
    """A value that a port's files decide.

    Attributes:
        value: of the switch or the parameter.
        evidence: file and line, relative to the port's `files`.
    """

    value: Any
    evidence: str


@dataclass(frozen=True)
class Published:
    """The accuracy that a port's authors report on ILSVRC-2012's validation images.

    Attributes:
        top1, top5: in %; None where it is not reported.
        views: on which crops, in words.
        source: where it stands.
    """

    top1: float | None
    top5: float | None
    views: str
    source: str


@dataclass(frozen=True)
class Port:
    """A port and every value that its files decide.

    Attributes:
        title: what it is usually called.
        files: what `evidence` is relative to: repository, folder, commit.
        architecture: the value of network.architecture.
        parameters: weights and biases with 1000 classes, by its authors or its definition.
        switches: by name, of the recipe.
        settings: by key of params.yaml, of what is no switch: batch, epochs, input.
        remains: what differs from the port by this recipe, and has no switch.
        published: its accuracy.
        known_by: what a paper that used it says of it.
    """

    title: str
    files: str
    architecture: Literal["two-column", "one-weird-trick"]
    parameters: int
    switches: Mapping[str, Decided]
    settings: Mapping[str, Decided]
    remains: tuple[str, ...]
    published: Published
    known_by: str


def _caffe(norm1: int, conv1_bias: int, relu: str, biases: str) -> dict[str, Decided]:
    """Return what both of Caffe's nets decide alike; the arguments are where it stands."""
    net = "train_val.prototxt"
    return {
        "lrn_divisor": Decided("window", "src/caffe/layers/lrn_layer.cpp:120: alpha / size"),
        "lrn_k": Decided(1, f"{net}:{norm1}: lrn_param has no k, caffe.proto's default is 1"),
        "lrn_window": Decided("layer", f"{net}:{norm1}: norm1 reads all of conv1"),
        "spatial_norm": Decided(False, f"{net}: no such layer"),
        "crop_side": Decided(227, f"{net}:12: crop_size"),
        "conv1_padding": Decided("none", f"{net}:{conv1_bias - 10}: conv1 has no pad"),
        "conv345_init_std": Decided(0.01, f"{net}: conv3 to conv5, weight_filler std"),
        "fc67_init_std": Decided(0.005, f"{net}: fc6 and fc7, weight_filler std"),
        "init": Decided("normal", f"{net}: weight_filler gaussian, bias_filler constant"),
        "fc8_init_bias": Decided(0.0, f"{net}: fc8, bias_filler value"),
        "dropout_place": Decided("after", f"{net}: drop6 reads fc6, drop7 reads fc7"),
        "dropout_scaling": Decided("train", "src/caffe/layers/dropout_layer.cpp:17: scale_"),
        "weight_lr": Decided(0.01, "solver.prototxt: base_lr"),
        "bias_lr": Decided(0.02, f"{net}:{conv1_bias - 13}: lr_mult 2"),
        "weight_decay": Decided(0.0005, "solver.prototxt: weight_decay"),
        "bias_decay": Decided(0.0, f"{net}:{conv1_bias - 12}: decay_mult 0"),
        "bias_schedule": Decided("with weights", "src/caffe/solvers/sgd_solver.cpp: one rate"),
        "schedule": Decided("step-20", "solver.prototxt: stepsize 100000, max_iter 450000"),
        "conv1_freezing": Decided(False, "solver.prototxt: nothing of the kind"),
        "momentum_at_drop": Decided(
            "kept", "src/caffe/solvers/sgd_solver.cpp: the rate is inside the history"),
        "input": Decided("mean image", f"{net}:13: mean_file"),
        "colour_noise": Decided("none", f"{net}:10-14: transform_param has none"),
        "noise_division": Decided(False, f"{net}:10-14: no noise"),
        "noise_off_late": Decided(False, f"{net}:10-14: no noise"),
        "crops": Decided("random", f"{net}:11-12: mirror, crop_size"),
        "crop_offsets": Decided(33, "src/caffe/data_transformer.cpp:88: 30 offsets, all of them"),
        "images_per_crop": Decided(1, "src/caffe/data_transformer.cpp:88: drawn for each image"),
        "mean_window": Decided("crop", "src/caffe/data_transformer.cpp:113-116"),
        "order": Decided("file", "examples/imagenet/create_imagenet.sh: --shuffle, once"),
        **{name: Decided(value, evidence) for name, value, evidence in (
            ("layer1_order", relu, f"{net}:{norm1}: norm1 "
             f"{'before' if relu == 'relu-norm-pool' else 'after'} pool1"),
            ("layer2_order", relu, f"{net}: norm2 likewise"),
            ("init_bias", 0.1 if relu == "relu-norm-pool" else 1.0, f"{net}:{biases}"))},
    }


_CAFFE_SETTINGS = {
    "train.batch": Decided(256, "train_val.prototxt: data_param batch_size"),
    "train.epochs": Decided(90, "solver.prototxt: max_iter 450000, of batches of 256"),
    "resize.mode": Decided("squash", "examples/imagenet/create_imagenet.sh:15-23: "
                                     "convert_imageset --resize_height=256 --resize_width=256"),
}
_CAFFE_REMAINS = (
    "reduces pictures by OpenCV's INTER_LINEAR, which looks at four pixels and skips the rest; "
    "here bicubic, or area",
    "channels are B, G, R: which of conv1's inputs is which, and nothing else",
    "mirrors are drawn before crops, by another generator")

PORTS: Mapping[str, Port] = {
    "caffe": Port(
        "BVLC bvlc_alexnet", "BVLC/caffe 9b891540, models/bvlc_alexnet", "two-column", 60_965_224,
        _caffe(73, 63, "relu-norm-pool", "119, 208, 242, 284, 324: bias_filler 0.1"),
        _CAFFE_SETTINGS, _CAFFE_REMAINS,
        Published(57.1, 80.2, "centre crop", "models/bvlc_alexnet/readme.md; iteration 360,000"),
        "\"AlexNet (Caffe)\", 57.1 %, 60.97 million parameters, input 227"),
    "caffenet": Port(
        "BVLC CaffeNet", "BVLC/caffe 9b891540, models/bvlc_reference_caffenet", "two-column",
        60_965_224,
        _caffe(100, 79, "relu-pool-norm", "135, 224, 258, 300, 340: bias_filler 1"),
        _CAFFE_SETTINGS, _CAFFE_REMAINS,
        Published(57.4, 80.4, "centre crop",
                  "models/bvlc_reference_caffenet/readme.md; iteration 310,000"),
        "\"CaffeNet\", \"the reference model\", R-CNN's and FCN's \"AlexNet\"; 57.4 %, input 227"),
    "torchvision": Port(
        "torchvision alexnet", "pytorch/vision 00658a22, torchvision/models/alexnet.py; "
                               "references/classification 080836e5",
        "one-weird-trick", 61_100_840, {
            **{name: Decided(value, "alexnet.py:21-35: nothing, for there is no LRN")
               for name, value in (("lrn_divisor", "window"), ("lrn_k", 2),
                                   ("lrn_window", "column"))},
            "layer1_order": Decided("relu-pool", "alexnet.py:22-24: ReLU, MaxPool2d, no LRN"),
            "layer2_order": Decided("relu-pool", "alexnet.py:25-27"),
            "spatial_norm": Decided(False, "alexnet.py:21-35: no normalisation"),
            "crop_side": Decided(224, "references/classification/presets.py"),
            "conv1_padding": Decided("symmetric", "alexnet.py:22: padding=2"),
            "init": Decided("torch", "alexnet.py:17-45: initialises nothing; nn.Conv2d and "
                                     "nn.Linear reset_parameters, kaiming_uniform_(a=sqrt(5))"),
            "dropout_place": Decided("before", "alexnet.py:37-45"),
            "dropout_scaling": Decided("train", "nn.Dropout"),
            "weight_lr": Decided(0.01, "references/classification/README.md: --lr 1e-2"),
            "bias_lr": Decided(0.01, "references/classification/train.py: one rate"),
            "weight_decay": Decided(0.0001, "references/classification/train.py: --weight-decay"),
            "bias_decay": Decided(0.0001, "references/classification/train.py: of all parameters"),
            "bias_schedule": Decided("with weights", "references/classification/train.py"),
            "schedule": Decided("step-30", "references/classification/train.py: --lr-step-size "
                                           "30, --lr-gamma 0.1, --epochs 90"),
            "conv1_freezing": Decided(False, "references/classification/train.py: nothing of it"),
            "momentum_at_drop": Decided("rescaled", "torch.optim.SGD: the rate is outside"),
            "input": Decided("channels", "references/classification/presets.py: Normalize"),
            "colour_noise": Decided("none", "references/classification/presets.py"),
            "noise_division": Decided(False, "references/classification/presets.py: no noise"),
            "noise_off_late": Decided(False, "references/classification/presets.py: no noise"),
            "crops": Decided("resized", "references/classification/presets.py: "
                                        "RandomResizedCrop(224), RandomHorizontalFlip"),
            "images_per_crop": Decided(1, "references/classification/presets.py: for each image"),
            "mean_window": Decided("centre", "references/classification/presets.py: nothing, for "
                                             "there is no mean image"),
            "order": Decided("epoch", "references/classification/train.py: RandomSampler"),
        }, {
            "train.batch": Decided(256, "references/classification/README.md: 8 GPUs of 32"),
            "train.epochs": Decided(90, "references/classification/train.py: --epochs"),
            "resize.mode": Decided("centre", "references/classification/presets.py: in testing "
                                             "Resize(256), CenterCrop(224)"),
        },
        ("crops the original picture, of any shape; here the stored square of 256, without the "
         "strips at the longer sides and resampled twice",
         "reduces pictures by a bilinear filter; here bicubic, or area",
         "batches are eight of 32, whose gradients are averaged; here one of 256"),
        Published(56.522, 79.066, "centre crop",
                  "torchvision/models/alexnet.py:66-67; README.md of references/classification"),
        "\"AlexNet (PyTorch)\", 56.5 %, 61.1 million parameters, alexnet-owt-7be5be79.pth"),
    "one-weird-trick": Port(
        "Krizhevsky 2014, one GPU", "akrizhevsky/cuda-convnet2, layers/layers-imagenet-1gpu.cfg, "
                                    "layer-params-imagenet-1gpu.cfg",
        "one-weird-trick", 61_100_840, {
            "lrn_divisor": Decided("window", "[rnorm1] size=5, layer.py: scale /= size"),
            "lrn_k": Decided(2, "layer-params [rnorm1] minDiv=2"),
            "lrn_window": Decided("layer", "[rnorm1] inputs=conv1: there is one column"),
            "layer1_order": Decided("norm-pool-relu", "[rnorm1], [pool1] neuron=relu"),
            "layer2_order": Decided("relu-norm-pool", "[conv2] neuron=relu, [rnorm2], [pool2]"),
            "spatial_norm": Decided(False, "no cnorm2"),
            "crop_side": Decided(224, "wiki TrainingExample: --inner-size 224"),
            "conv1_padding": Decided("right-bottom", "[conv1] padding=0, stride=4, 55 outputs"),
            "conv345_init_std": Decided(0.03, "[conv3], [conv4], [conv5] initW=0.03"),
            "fc67_init_std": Decided(0.01, "[fc4096a], [fc4096b] initW=0.01"),
            "init": Decided("normal", "initW, initB"),
            "init_bias": Decided(1.0, "[conv2], [conv4], [conv5], [fc4096a], [fc4096b] initB=1"),
            "fc8_init_bias": Decided(-7.0, "[fc1000] initB=-7"),
            "dropout_place": Decided("after", "[dropout1] inputs=fc4096a"),
            "dropout_scaling": Decided("test", "type=dropout2"),
            "weight_lr": Decided(0.01, "layer-params epsW=dexp[base=0.01;...]"),
            "bias_lr": Decided(0.02, "layer-params epsB=dexp[base=0.02;...]"),
            "weight_decay": Decided(0.0005, "layer-params wc=0.0005"),
            "bias_decay": Decided(0.0, "cudaconvnet/src/weights.cu: of weights alone"),
            "bias_schedule": Decided("constant", "layer-params: its own dexp of a factor 10"),
            "schedule": Decided("dexp", "layer-params epsW=dexp[...;tgtFactor=250;numSteps=4]"),
            "conv1_freezing": Decided(False, "layer-params [conv1]"),
            "momentum_at_drop": Decided("kept", "cudaconvnet/src/weights.cu"),
            "input": Decided("mean image", "convdata.py: data_mean"),
            "colour_noise": Decided("stdev", "wiki TrainingExample: --color-noise 0.1"),
            "noise_division": Decided(True, "convdata.py: / (1 + color_noise)"),
            "noise_off_late": Decided(False, "wiki TrainingExample: throughout"),
            "crops": Decided("random", "cudaconvnet/src/jpeg.cpp:118-121"),
            "crop_offsets": Decided(33, "cudaconvnet/src/jpeg.cpp:118-121"),
            "images_per_crop": Decided(1, "cudaconvnet/src/jpeg.cpp:58: for each image"),
            "mean_window": Decided("centre", "convdata.py: data_mean_crop"),
            "order": Decided("file", "convdata.py: files in their order"),
        }, {
            "train.batch": Decided(128, "wiki TrainingExample: --mini 128"),
            "train.epochs": Decided(90, "wiki TrainingExample: --epochs 90"),
            "resize.filter": Decided("area", "make-data/pyext/src/pyext.cpp:103-110: INTER_AREA"),
            "store.encoding": Decided("jpeg", "make-data: JPEG of quality 95"),
        },
        ("enlarges small pictures by OpenCV's INTER_CUBIC; here Pillow's bicubic",),
        Published(57.45, 80.19, "centre crop; 59.58 and 81.85 of ten",
                  "cuda-convnet2's wiki, TrainingExample; arXiv:1404.5997 has 42.33 % error at "
                  "batch 128"),
        "\"one weird trick\", \"cuda-convnet2's AlexNet\"; 64 kernels in conv1, with LRN"),
}


@dataclass(frozen=True)
class OtherPort:
    """A port that no recipe has.

    Attributes:
        title, files: as of a `Port`.
        missing: what would have to be switched that has no switch.
        published: its accuracy, in words, with its source.
    """

    title: str
    files: str
    missing: str
    published: str


OTHERS = (
    OtherPort("theano_alexnet", "uoguelph-mlrg/theano_alexnet 47523e69",
              "biases of 0.1 in conv2, conv4, fc6 and fc7 and 0 in conv5; drops at 20 and 40 of 60 "
              "epochs; crop offsets of which the first and last are half as likely. The rest is "
              "`caffenet` with `lrn_divisor: none`, `lrn_k: 2`, `dropout_scaling: test`",
              "none in the repository; its report is arXiv:1412.2302"),
    OtherPort("tensorpack AlexNet", "tensorpack 1547a54e, examples/ImageNetModels/alexnet.py",
              "Nesterov's momentum; convolutions by He's normal distribution; biases of 0 and, in "
              "fc6, of 1; drops at 30, 60 and 80 of 100 epochs; crops of the whole picture and not "
              "of its square; eigenvalues of colour of its own",
              "top-1 58 % (examples/ImageNetModels/README.md)"),
    OtherPort("tf-slim alexnet_v2", "google-research/tf-slim 1287b1ef, tf_slim/nets/alexnet.py",
              "a conv4 of 384 kernels; pooling whose windows never hang over (54, 26, 12, 5 "
              "pixels); Xavier's distribution in the convolutions; biases of 0.1 in every layer "
              "but fc8. It has 50.3 million parameters, and no training recipe",
              "none"),
    OtherPort("dansuh17/alexnet-pytorch", "dansuh17/alexnet-pytorch 8aeaedd7, model.py",
              "Adam at 1e-4; Gaussians in the convolutions beside PyTorch's default in the fully "
              "connected layers; the centre of the picture as it is, without resizing, also in "
              "training. It has 62,378,344 parameters",
              "none"),
)
