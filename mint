#!/bin/sh
# The one way in: makes .venv from the lock files when it is stale, then runs the command line.
#   ./mint demo    the whole line, once        ./mint test    every check and test        ./mint --help    the rest
#   ./mint extra tensorboard    an extra that the lock of all leaves out
# PYTHON=... chooses the interpreter, UV=... the uv that installs; UV=no means pip. A torch that your Python already has is
# used; otherwise one is fetched from wherever your pip settings point (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=$root/.venv

# Python runs our code, whatever it is told of other code (PYTHONPATH) and whatever lies in the current folder.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
PYTHONSAFEPATH=1; export PYTHONSAFEPATH
# Without UTF-8 Python 3.11 cannot read where our code lies if a folder on the way has an é in its name.
case ${LC_ALL:-} in C|POSIX) LC_ALL=C.UTF-8; export LC_ALL ;; esac

say() { printf '%s\n' "$*" >&2; }
die() { say "mint: $*"; exit 3; }
fingerprint() { cat "$root/locks/$1.txt" "$root/pyproject.toml" "$root/protos/pyproject.toml" | cksum; }
fresh() { [ -x "$venv/bin/mintage" ] && [ "$(cat "$venv/lock-$1" 2>/dev/null)" = "$(fingerprint "$1") $root" ]; }
has_torch() { "$1" -c 'import sys, torch; sys.exit([int(n) for n in torch.__version__.split(".")[:2]] < [2, 6])' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$candidate"; return; }
  done
  die "needs Python 3.11 or newer; install one, or name it: PYTHON=/path/to/python3 ./mint demo"
}

install() {
  python=$(find_python)
  if [ "$1" = test ]; then size='345 MB'; else size='245 MB'; fi
  say "mint: preparing .venv with $("$python" --version): about $size of locked wheels, fetched once and cached"
  system=; has_torch "$python" && { system=--system-site-packages; say "mint: using the torch that $python has"; }
  [ -x "$venv/bin/python" ] || "$python" -m venv $system "$venv" ||
    die "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
  rm -f "$venv"/lock-*
  "$venv/bin/python" "$root/locks/install.py" "$1"
  [ "$1" = test ] && echo "$(fingerprint all) $root" > "$venv/lock-all"
  echo "$(fingerprint "$1") $root" > "$venv/lock-$1"
}

if [ "${1:-}" = extra ]; then
  extras=$(sed -n '/^\[project.optional-dependencies\]/,/^\[project.scripts\]/s/^\([a-z]*\) = \[.*/\1/p' "$root/pyproject.toml")
  printf '%s\n' "$extras" | grep -qx "${2:-}" || die "there is no extra '${2:-}'; there are" $extras
fi
[ "${1:-}" = test ] && lock=test || lock=all
fresh "$lock" || install "$lock"
PATH=$venv/bin:$PATH; export PATH
if [ "${1:-}" = extra ]; then exec "$venv/bin/python" "$root/locks/install.py" "$2"; fi
if [ "$lock" = test ]; then shift; cd "$root"; exec "$venv/bin/python" -m tests "$@"; fi
exec "$venv/bin/python" -m service "$@" # not the script beside it, whose first line bears no quote in a path
