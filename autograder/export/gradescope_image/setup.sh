#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the autograder's image.
# It installs a Python that is new enough, bubblewrap (used where the container allows it), and what the judge needs.
# pip takes packages from where the image's pip configuration points; set PIP_EXTRA_INDEX_URL there for a CPU build of torch.
set -euo pipefail

root="${AUTOGRADER_ROOT:-/autograder}"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends bubblewrap || echo "no bubblewrap: workers run at a weaker level"

python=""
for version in 3.13 3.12 3.11; do
    if apt-get install -y --no-install-recommends "python$version" "python$version-venv"; then
        python="python$version"
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup.sh: expected Python 3.11 or newer in this image's packages, found none; choose Ubuntu 22.04 or newer" >&2
    exit 1
fi

"$python" -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --no-cache-dir -r "$root/source/kit/requirements.txt"
