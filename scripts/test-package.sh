#!/usr/bin/env bash
# Packs the package, installs the tarball in an empty folder with an empty HOME, and uses what is there:
# the command answers and the addon loads.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/morch-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/home" "$work/project"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

cd "$repository"
HOME=$work/home npm pack --silent --pack-destination "$work" >"$work/pack.log" || fail "npm pack: $(cat "$work/pack.log")"
tarball=$(echo "$work"/*.tgz)
tar -tzf "$tarball" >"$work/files"
echo "packed: $(wc -l <"$work/files") files, $(($(wc -c <"$tarball") / 1024)) KiB"
if grep -E '^package/(test|bench|agent/native/(build|test)|node_modules|dist/test)/|\.ts$' "$work/files"; then
  fail 'these files do not belong in the package'
fi

cd "$work/project"
export HOME=$work/home
unset npm_config_nodedir MORCH_SKIP_NATIVE
echo '{ "private": true }' >package.json
npm install --no-fund --no-audit "$tarball"

installed=node_modules/micro-orchestrator
version=$(npx --no-install morch --version)
expected=$(node -p "require('./$installed/package.json').version")
[ "$version" = "$expected" ] || fail "morch --version says '$version', package.json says '$expected'"
echo "morch --version: $version"
npx --no-install morch --help >/dev/null || fail 'morch --help'

if [ "$(uname -s)" = Linux ]; then
  addon=$(find "$installed/agent/native/build/Release" -name '*.node' | head -n 1)
  [ -n "$addon" ] || fail 'the addon was not built'
  node -e 'require(require("node:path").resolve(process.argv[1]))' "$addon" || fail "the addon does not load: $addon"
  echo "addon loads: $addon"
fi
echo 'ok'
