#!/bin/sh
# Re-resolve every lock file from pyproject.toml: sh locks/lock.sh (needs uv on PATH).
set -eu
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  uv pip compile "$@" --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "sh locks/lock.sh" --output-file "locks/$out" --quiet ${UPGRADE:+--upgrade}
}
# All but torch, whose build differs, and our own client, which lies in protos.
lock() {
  out=$1; shift
  echo "torch ; sys_platform == 'never'" |
    compile "$out" pyproject.toml "$@" --override - --group build --no-emit-package torch --no-emit-package mintage-client
}
lock service.txt --extra cli --extra service
lock torchserve.txt --extra cli --extra training --extra handlers --extra service --group torch-needs
lock all.txt --extra cli --extra service --extra training --extra handlers --extra local --extra neurons --group torch-needs
lock tensorboard.txt --extra tensorboard --constraint locks/all.txt
lock hub.txt --extra hub --constraint locks/all.txt
lock test.txt --extra cli --extra service --extra training --extra handlers --extra local --extra neurons --extra parquet --extra tensorboard --extra hub --extra test --group torch-needs
# The readers of the field, for the tests marked `readers`; of what both have, the versions of test.txt.
lock readers.txt --extra readers --constraint locks/test.txt
# Further extras: ./mint extra NAME.
lock datasets.txt --extra datasets --constraint locks/readers.txt
# torch: the registry's build, which is the one for CUDA on Linux, with all that it needs; and the CPU build for Linux, whose
# wheels lie on PyTorch's index alone: TORCH_CPU=FOLDER names where they are. The marker says for which system and Python
# they have been there.
torch=$(sed -n 's/^TORCH = "\(.*\)"/\1/p' locks/install.py)
echo "torch==$torch" | compile torch.txt - --constraint locks/test.txt
[ -z "${TORCH_CPU:-}" ] ||
  echo "torch==$torch+cpu ; python_version == '3.11' and sys_platform == 'linux' and platform_machine == 'x86_64'" |
  compile torch-cpu.txt - --constraint locks/test.txt --find-links "$TORCH_CPU"
# What installs them.
echo uv | compile uv.txt -
