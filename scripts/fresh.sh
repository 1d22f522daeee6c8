#!/usr/bin/env bash
# Proves that a fresh machine needs nothing but Node and npm: clones the repository, with an empty HOME, into
#   scripts/fresh.sh           a new directory of this machine
#   scripts/fresh.sh --chroot  a newly made Debian 12 (root and debootstrap needed) that has this machine's Node and nothing else
# and there runs the README's two commands. --start-only leaves the tests out; --user (with --chroot) runs npm start as an
# ordinary user, who cannot install system packages.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
chroot= start_only= user=
for argument; do
  case $argument in
    --chroot) chroot=1 ;;
    --start-only) start_only=1 ;;
    --user) user=1 ;;
    *) sed -n 's/^# \{0,1\}//p' "$0" | head -8; exit 2 ;;
  esac
done

place=$(mktemp -d "${TMPDIR:-/tmp}/tansy-fresh.XXXXXX")
# shellcheck disable=SC2317
clean_up() {
  if [ -n "$chroot" ]; then umount -q "$place/root/dev/shm" "$place/root/proc" || true; fi
  rm -rf --one-file-system "$place"
}
trap clean_up EXIT

if [ -n "$chroot" ]; then
  root=$place/root
  debootstrap --variant=minbase --include=ca-certificates,libstdc++6 bookworm "$root" "${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' | head -1)}" >"$place/log" ||
    { tail "$place/log"; exit 1; }
  # this machine's Node and npm, and its extra certificates where it has any
  install -m 755 "$(readlink -f "$(command -v node)")" "$root/usr/local/bin/node"
  mkdir -p "$root/usr/local/lib/node_modules"
  cp -r "$(npm root -g)/npm" "$root/usr/local/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then cp "$NODE_EXTRA_CA_CERTS" "$root/etc/extra-ca.pem"; fi
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  echo "127.0.0.1 localhost" >"$root/etc/hosts"
  mkdir -p "$root/dev/shm"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mount -t proc proc "$root/proc"
else
  root=$place
fi
mkdir -p "$root/home-of-nobody"
git clone -q "$repo" "$root/tansy"

run() {
  echo "== npm $1"
  local started=$SECONDS environment=(PATH="$PATH" LANG=C.UTF-8)
  if [ -n "$chroot" ]; then
    environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/home-of-nobody)
    if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then environment+=(NODE_EXTRA_CA_CERTS=/etc/extra-ca.pem); fi
    local as=()
    if [ -n "$user" ]; then
      chown -R 1234:1234 "$root/tansy" "$root/home-of-nobody"
      as=(--userspec=1234:1234)
    fi
    chroot "${as[@]}" "$root" env -i "${environment[@]}" sh -c "cd /tansy && npm $1" </dev/null
  else
    if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then environment+=(NODE_EXTRA_CA_CERTS="$NODE_EXTRA_CA_CERTS"); fi
    (cd "$root/tansy" && env -i "${environment[@]}" HOME="$root/home-of-nobody" npm "$1" </dev/null)
  fi
  echo "== npm $1: done in $((SECONDS - started)) s"
}

run start
if [ -z "$start_only" ]; then run test; fi
