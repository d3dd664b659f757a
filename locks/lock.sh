#!/bin/sh
# Re-resolve every lock file from pyproject.toml: sh locks/lock.sh (needs uv on PATH).
# torch is left out by an override in pyproject.toml; what torch itself needs is locked through the group torch-needs.
set -eu
cd "$(dirname "$0")/.."
lock() {
  out=$1; shift
  uv pip compile pyproject.toml "$@" --group build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-emit-package torch --custom-compile-command "sh locks/lock.sh" --output-file "locks/$out" --quiet ${UPGRADE:+--upgrade}
}
lock service.txt --extra cli --extra service
lock torchserve.txt --extra cli --extra training --extra handlers --extra service --group torch-needs
lock all.txt --extra cli --extra service --extra training --extra handlers --extra local --extra neurons --group torch-needs
lock tensorboard.txt --extra tensorboard --constraint locks/all.txt
lock hub.txt --extra hub --constraint locks/all.txt
lock test.txt --extra cli --extra service --extra training --extra handlers --extra local --extra neurons --extra parquet --extra tensorboard --extra hub --extra test --group torch-needs
# The readers of the field, for the tests marked `readers`; of what both have, the versions of test.txt.
lock readers.txt --extra readers --constraint locks/test.txt
