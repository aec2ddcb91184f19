#!/usr/bin/env bash
# Writes the files of hashes that CI installs from: bash requirements/compile.sh UV
# Versions are those of constraints.txt. Both files hold for Python 3.11 and 3.12 on Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # OUTPUT ARGUMENTS...
  local output=$1
  shift
  "$UV" pip compile --quiet --no-config --no-header --no-annotate --system-certs --universal --python-version 3.11 \
    --constraints constraints.txt --generate-hashes --output-file "$output" "$@"
}
UV=${1:-uv}
# torch decides by its build which CUDA it needs: whoever installs chooses the index, so it and these have no hash here.
of_torch=$(printf ' --no-emit-package %s' torch triton setuptools cuda-bindings cuda-pathfinder cuda-toolkit)
for name in cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 \
  nccl-cu13 nvjitlink nvshmem-cu13 nvtx; do
  of_torch+=" --no-emit-package nvidia-$name"
done
compile requirements/build.txt requirements/build.in
# shellcheck disable=SC2086
compile requirements/ci.txt setup.py --extra test --extra lint $of_torch
