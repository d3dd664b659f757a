#!/bin/sh
# The one way in: makes .venv from the lock files when it is stale, then runs the command line.
#   ./mint demo    the whole line, once        ./mint test    every check and test        ./mint --help    the rest
#   ./mint extra tensorboard    adds what only some people need, from its lock file
# PYTHON=... chooses the interpreter. A torch that it already has is used; otherwise pip fetches one, from wherever
# your pip settings point (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=$root/.venv
torch=2.13.0

# Python runs our code, whatever it is told of other code (PYTHONPATH) and whatever lies in the current folder.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
PYTHONSAFEPATH=1; export PYTHONSAFEPATH

say() { printf '%s\n' "$*" >&2; }
die() { say "mint: $*"; exit 3; }
fingerprint() { cat "$root/locks/$1.txt" "$root/pyproject.toml" | cksum; }
fresh() { [ -x "$venv/bin/mintage" ] && [ "$(cat "$venv/lock-$1" 2>/dev/null)" = "$(fingerprint "$1") $root" ]; }
has_torch() { "$1" -c 'import sys, torch; sys.exit([int(n) for n in torch.__version__.split(".")[:2]] < [2, 6])' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$candidate"; return; }
  done
  die "needs Python 3.11 or newer; install one, or name it: PYTHON=/path/to/python3 ./mint demo"
}

install_torch() {
  has_torch "$venv/bin/python" && return
  # Plain `torch` is the CUDA build on Linux unless pip's settings offer another: ask pip before saying a size.
  if "$venv/bin/python" -m pip install --dry-run --quiet --report - --no-deps "torch==$torch" 2>/dev/null | grep -q '+cpu'; then
    say "mint: fetching torch $torch, CPU build: 192 MB (0.8 GB on disk)"
  else
    say "mint: fetching torch $torch: up to 3 GB where pip chooses the CUDA build. For the CPU build (192 MB) stop here and"
    say "      point PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to PyTorch's CPU wheels, or install torch for your Python first."
  fi
  "$venv/bin/python" -m pip install $quiet "torch==$torch"
}

install() {
  python=$(find_python)
  if [ "$1" = test ]; then size='345 MB'; else size='245 MB'; fi
  say "mint: preparing .venv with $("$python" --version): about $size of locked wheels, fetched once; pip's cache is used"
  system=; has_torch "$python" && { system=--system-site-packages; say "mint: using the torch that $python has"; }
  quiet=; [ -t 2 ] || quiet=--quiet
  [ -x "$venv/bin/python" ] || "$python" -m venv $system "$venv" ||
    die "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
  rm -f "$venv"/lock-*
  "$venv/bin/python" -m pip install $quiet --disable-pip-version-check --require-hashes --requirement "$root/locks/$1.txt"
  install_torch
  "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable "$root"
  [ "$1" = test ] && echo "$(fingerprint all) $root" > "$venv/lock-all"
  echo "$(fingerprint "$1") $root" > "$venv/lock-$1"
}

extra=
if [ "${1:-}" = extra ]; then
  extra=$root/locks/${2:-}.txt
  case "${2:-}" in
    tensorboard | hub) ;;
    *) die "there is no extra '${2:-}'; ./mint extra tensorboard, ./mint extra hub" ;;
  esac
fi
[ "${1:-}" = test ] && lock=test || lock=all
fresh "$lock" || install "$lock"
PATH=$venv/bin:$PATH; export PATH
[ -z "$extra" ] || exec "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes --requirement "$extra"
if [ "$lock" = test ]; then shift; cd "$root"; exec "$venv/bin/python" -m tests "$@"; fi
exec "$venv/bin/mintage" "$@"
