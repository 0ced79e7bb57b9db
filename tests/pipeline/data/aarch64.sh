#!/bin/sh
# Pictures on an emulated aarch64 processor, by the Pillow that `make setup` installs there:
#
#     tests/pipeline/data/aarch64.sh FOLDER [NUMPY]
#
# FOLDER is that of tests/alexnet/arithmetic/aarch64.sh, which puts Debian's Python there; it needs qemu-user,
# gcc-aarch64-linux-gnu, unzip and pip. It ends with 0 where the pixels are those of x86-64, to the bit.
set -eu
folder=$(cd "$1" && pwd)
numpy=${2:-2.2.*}
project=$(cd "$(dirname "$0")/../../.." && pwd)
pillow=$(sed -n 's/^pillow-simd==\(.*\)\.post.*/\1/p' "$project/requirements.lock")
site="$folder/pillow-$pillow"
if [ ! -e "$site" ]; then
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 -d "$site.wheels" \
        "pillow==$pillow" "numpy==$numpy"
    mkdir "$site.unpacked"
    for wheel in "$site.wheels"/*.whl; do unzip -q -o "$wheel" -d "$site.unpacked"; done
    mv "$site.unpacked" "$site"
fi
cd "$project"
PYTHONHOME="$folder/root/usr" PYTHONPATH="$project:$site" PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME="$folder/kernels" CC=aarch64-linux-gnu-gcc OMP_NUM_THREADS=1 \
    exec qemu-aarch64 -L "$folder/root" "$folder/root/usr/bin/python3.11" -m tests.pipeline.data.decoded
