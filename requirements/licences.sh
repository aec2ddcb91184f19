#!/usr/bin/env bash
# Prints docs/licences.md: bash requirements/licences.sh FOLDER, which holds pip-licenses and the python with everything.
set -euo pipefail
cat << 'HEAD'
# Licences of the dependencies

Written by `make licences`; do not edit. Everything that the extra `test` installs, with which CI runs: the package
itself needs those of `install_requires` in `setup.py` and what they need. torch is the build that is installed.

HEAD
"$1/pip-licenses" --python "$1/python" --format=markdown --with-urls \
  --ignore-packages mvlm-plugin pip-licenses pip-audit uv prettytable
