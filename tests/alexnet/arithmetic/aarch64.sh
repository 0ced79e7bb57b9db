#!/bin/sh
# Narrow nets on an emulated aarch64 processor, with Debian 12's Python and an older PyTorch:
#
#     tests/alexnet/arithmetic/aarch64.sh FOLDER [PYTORCH [NUMPY]]
#
# FOLDER keeps what is downloaded (some 130 MB). It needs apt-get of a Debian 12, qemu-user,
# gcc-aarch64-linux-gnu, unzip and pip; and ends with 0 where every net's weights are identical.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
torch=${2:-2.8.0}
numpy=${3:-2.2.*}
project=$(cd "$(dirname "$0")/../../.." && pwd)

if [ ! -e "$folder/root" ]; then
    mkdir -p "$folder/apt/lists/partial" "$folder/cache/archives/partial" "$folder/debs"
    : > "$folder/apt/status"
    apt="apt-get -qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oDir::State=$folder/apt
         -oDir::State::status=$folder/apt/status -oDir::Cache=$folder/cache"
    $apt update
    (cd "$folder/debs" && $apt download python3.11-minimal libpython3.11-minimal \
        libpython3.11-stdlib libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 \
        libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libgomp1 libcrypt1)
    for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$folder/unpacked"; done
    mv "$folder/unpacked" "$folder/root"
fi
site="$folder/torch-$torch"
if [ ! -e "$site" ]; then
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 -d "$site.wheels" "torch==$torch" "numpy==$numpy" \
        sympy mpmath networkx jinja2 markupsafe filelock fsspec typing_extensions
    mkdir "$site.unpacked"
    for wheel in "$site.wheels"/*.whl; do unzip -q -o "$wheel" -d "$site.unpacked"; done
    mv "$site.unpacked" "$site"
fi
cd "$project"
PYTHONHOME="$folder/root/usr" PYTHONPATH="$project:$site" PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME="$folder/kernels" CC=aarch64-linux-gnu-gcc OMP_NUM_THREADS=1 \
    exec qemu-aarch64 -L "$folder/root" "$folder/root/usr/bin/python3.11" \
    -m tests.alexnet.arithmetic.emulated_network --inside
