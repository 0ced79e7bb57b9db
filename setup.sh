#!/bin/sh
# Makes .venv with the packages that requirements.lock pins and this project in it. Silent when that is already done.
#
# Plain `pip install` cannot do it, for two reasons. pillow-simd stands in Pillow's place, and the packages that ask for
# Pillow would bring it back over pillow-simd's files: so the lock is complete and is installed without dependencies. But
# torch's dependencies differ from machine to machine (the CUDA libraries on Linux): so torch brings its own.
# Wheels are held to their SHA-256 in requirements.hashes, all but torch's and torchvision's, which may be another index's;
# where uv is installed it fetches them, faster than pip.
#
# PYTHON names the interpreter (python3). A set-up that was cut short begins anew from pip's cache of what was fetched.
set -eu
cd "$(dirname "$0")"
here=$(pwd -P)
python=${PYTHON:-python3}
finished=.venv/set-up  # what the finished set-up was made from; no such file in a half-made .venv
wanted="$(cat requirements.lock requirements.hashes pyproject.toml setup.sh | cksum) $here"
unset PYTHONPATH PYTHONHOME
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

if [ "$(cat $finished 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c 'import click' 2>/dev/null; then
    exit 0
fi

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
install() { .venv/bin/python -m pip install -qq --no-compile "$@" || fail "pip failed; fix what it complains of" \
    "above, then run the same command again"; }

# ---- what must be there before anything is made ---------------------------------------------------------------------

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
    || fail "no Python called '$python'. Install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "'$python' is Python $version, and 3.11 or newer is needed. Name another: make PYTHON=python3.12"

missing='' debian='' fedora='' macos=''
need() {  # what, and its package on Debian, on Fedora and, beyond Xcode's tools, on macOS
    missing="$missing${missing:+, }$1" debian="$debian $2" fedora="$fedora $3" macos="$macos${4:+ $4}"
}
includes() {  # whether C source with this line compiles; $compiler and $flags are lists of words
    printf '#include <stdio.h>\n%s\n' "$1" | $compiler $flags -x c -fsyntax-only - 2>/dev/null
}

"$python" -c 'import ensurepip, venv' 2>/dev/null || need "Python's venv module" python3-venv python3 python
case $("$python" -c 'import platform; print(platform.machine().lower())') in
    x86_64 | amd64) simd=yes ;;
    *) simd=no ;;  # pillow-simd is for x86-64; Pillow comes built, and pipeline/data/resampling.c resamples with its bits
esac
if [ $simd = yes ]; then
    compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
    flags="${CPPFLAGS:-} ${CFLAGS:-} -I$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
    if command -v brew >/dev/null; then flags="$flags -I$(brew --prefix)/include"; fi
    if includes ''; then
        includes '#include <Python.h>' || need "Python's headers (Python.h)" python3-dev python3-devel python
        includes '#include <jpeglib.h>' || need 'the JPEG headers (jpeglib.h)' libjpeg-dev libjpeg-turbo-devel jpeg-turbo
        includes '#include <zlib.h>' || need 'the zlib headers (zlib.h)' zlib1g-dev zlib-devel
    else
        need "a C compiler ('$compiler' does not work)" build-essential gcc
    fi
fi
if [ -n "$missing" ]; then
    say "missing: $missing. Install it, then run the same command again:"
    say "    Debian, Ubuntu:  apt-get install$debian"
    say "    Fedora:          dnf install$fedora"
    say "    macOS:           xcode-select --install${macos:+ && brew install$macos}"
    exit 1
fi

# ---- the environment ------------------------------------------------------------------------------------------------

begin=$(date +%s)
if [ -e $finished ] && .venv/bin/python -m pip --version >/dev/null 2>&1 \
        && grep -qsxF "$here" .venv/made-in; then
    rm $finished
    say "requirements.lock, pyproject.toml or setup.sh has changed; bringing .venv up to date"
else
    say "making .venv with Python $version: 2 GB, with PyTorch for CUDA 6 GB, some minutes, once"
    "$python" -m venv --clear .venv
    echo "$here" >.venv/made-in  # a moved environment is useless: its scripts name their interpreter
fi
grep -o '^[^ #]*==[^ ]*' requirements.hashes >.venv/hashed.txt
grep -vxF -f .venv/hashed.txt requirements.lock >.venv/requirements.txt
if [ $simd = yes ]; then
    if .venv/bin/python -m pip show --quiet pillow 2>/dev/null; then  # each has overwritten files of the other
        .venv/bin/python -m pip uninstall --quiet --yes pillow pillow-simd
    fi
else
    sed -i.lock 's/^pillow-simd==\(.*\)\.post.*/pillow==\1/' .venv/requirements.txt
fi
say "1 of 3: $(grep -c == requirements.hashes) packages, by their hashes"
hashed='--no-deps --require-hashes --requirement requirements.hashes'
{ command -v uv >/dev/null && uv pip install --quiet --python .venv/bin/python $hashed; } || install $hashed
say "2 of 3: PyTorch, and pillow-simd, which is compiled"
install --constraint .venv/requirements.txt torch
install --no-deps --requirement .venv/requirements.txt
say "3 of 3: this project"
install --no-deps --no-build-isolation --editable .
# On all cores; pip would do it on one. Some packages have files that are no Python of this version.
.venv/bin/python -m compileall -qq -j 0 .venv/lib >/dev/null 2>&1 || true

pillow='^(matplotlib|torchvision) [^ ]+ requires pillow, which is not installed\.$'  # it is there: by another name
complaints=$(.venv/bin/python -m pip check 2>&1 | grep -vE -e "$pillow" -e '^No broken requirements' || true)
[ -z "$complaints" ] || fail "the packages do not fit together:
$complaints"
.venv/bin/python -c 'from pipeline.records import environment; environment.check()'
# Compiles the kernels of portable arithmetic, so that no stage has to, and tries them.
.venv/bin/alexnet doctor arithmetic >.venv/arithmetic.txt 2>&1 || say "$(cat .venv/arithmetic.txt)"
echo "$wanted" >$finished
say "done in $(($(date +%s) - begin)) s"
