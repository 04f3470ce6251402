#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages of requirements/system-*.txt that are absent; calls apt only when some are.
# Usage: scripts/system_packages.sh run|test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 3
}

lists=(requirements/system-run.txt)
case ${1:-} in
  run) ;;
  test) lists+=(requirements/system-test.txt) ;;
  *) fail "usage: scripts/system_packages.sh run|test" ;;
esac

command -v dpkg-query >/dev/null || fail \
  "this script knows Debian 12 and Ubuntu 22.04 or 24.04; there is no dpkg here" \
  "install the counterparts of ${lists[*]} by hand, then run scripts/virtualenv.sh"

names=()
declare -A why
add() {
  names+=("$1")
  why[$1]=$2
}
while IFS='#' read -r name reason; do
  name=${name// /}
  [[ -z $name ]] || add "$name" "${reason# }"
done < <(cat "${lists[@]}")

# Debian splits the interpreter: `venv` and the C headers come apart. An interpreter from elsewhere (pyenv, conda) has both.
if ! command -v python3 >/dev/null && [[ -z ${PYTHON:-} ]]; then
  add python3 "the interpreter"
  add python3-venv "makes .venv"
  add python3-dev "C headers, to compile PyGObject"
else
  python=$(scripts/find_python.sh)
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [[ $python == /usr/bin/* ]]; then
    add "python$version-venv" "makes .venv"
    add "python$version-dev" "C headers, to compile PyGObject"
  fi
fi

# dpkg-query fails when it has never heard of one of the names: that is an answer too.
states=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${names[@]}" 2>/dev/null) || true
missing=()
for name in "${names[@]}"; do
  grep -qxF "$name installed" <<<"$states" || missing+=("$name")
done
if ((${#missing[@]} == 0)); then
  echo "setup: all ${#names[@]} system packages are there"
  exit
fi

echo "setup: installing system packages:"
for name in "${missing[@]}"; do printf '  %-28s %s\n' "$name" "${why[$name]}"; done

by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || fail "installing them needs root, and there is no sudo; run as root:" "  $by_hand"
  if ! sudo -n true 2>/dev/null && [[ ! -t 0 ]]; then
    fail "installing them needs root, and sudo would ask for a password; run:" "  sudo sh -c '$by_hand'"
  fi
  root=(sudo)
fi

# A fresh Ubuntu holds the lock for its own updates: wait for it instead of failing.
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }

apt update || fail "apt-get update failed: see its message above; then run:" "  $by_hand"
for name in "${missing[@]}"; do
  if ! apt-cache show "$name" >/dev/null 2>&1; then
    fail "this system's apt sources have no package '$name' (${why[$name]})" \
      "supported: Debian 12, Ubuntu 22.04 and 24.04; on Ubuntu the 'universe' component must be on: sudo add-apt-repository universe"
  fi
done
apt install -y --no-install-recommends "${missing[@]}" || fail "apt-get install failed: see its message above; by hand:" "  $by_hand"
